import fixture from '../../../fixtures/messages.json';
import { KernelClient } from '../../kernel/client';
import { FakeKernel, GREETING, Reply, failing } from '../fakes';

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 12; turn++) {
    await Promise.resolve();
  }
};

async function connected(): Promise<{ kernel: FakeKernel; client: KernelClient }> {
  const kernel = new FakeKernel();
  const client = new KernelClient(kernel.like, 'page');
  await settle();
  kernel.push(client.commId, fixture.state);
  return { kernel, client };
}

const types = (kernel: FakeKernel): string[] => kernel.sent.map(message => message.header.msg_type);

it('starts silently, opens one comm and takes the state', async () => {
  const { kernel, client } = await connected();
  expect(kernel.asked).toEqual([
    {
      code: '',
      silent: true,
      store_history: false,
      allow_stdin: false,
      user_expressions: { r: fixture.door }
    }
  ]);
  expect(types(kernel)).toEqual(['comm_open']);
  expect(kernel.sent[0].content.target_name).toBe('jlab-compress');
  expect(client.link).toEqual({ kind: 'ready' });
  expect(client.state?.models[0].name).toBe('net');
});

it('is busy while the kernel does not answer, and hears the old comm meanwhile', async () => {
  jest.useFakeTimers();
  try {
    const kernel = new FakeKernel();
    kernel.replies = [new Promise<Reply>(() => undefined)];
    const client = new KernelClient(kernel.like, 'page');
    jest.advanceTimersByTime(1000);
    expect(client.link).toEqual({ kind: 'busy' });
    kernel.push(client.commId, fixture.progress);
    expect(client.progress?.done).toBe(5);
    expect(new KernelClient(kernel.like, 'page').commId).toBe(client.commId);
    expect(new KernelClient(kernel.like, 'other').commId).not.toBe(client.commId);
  } finally {
    jest.useRealTimers();
  }
});

it.each([
  ['missing', failing('ModuleNotFoundError', "No module named 'jlab_compress'")],
  ['outdated', failing('ModuleNotFoundError', "No module named 'jlab_compress.notebook'")],
  ['outdated', failing('AttributeError', "module 'jlab_compress.notebook' has no attribute 'connect'")],
  ['fault', failing('RuntimeError', 'something else')],
  ['fault', failing('ModuleNotFoundError', "No module named 'torch'")],
  ['fault', failing('ImportError', 'the panel needs IPython; pip install "jlab-compress[notebook]"')],
  [
    'outdated',
    {
      status: 'ok',
      user_expressions: { r: { status: 'ok', data: { 'application/json': { protocol: 99, version: '9' } } } }
    }
  ]
])('says %s when it is', async (kind, reply) => {
  const kernel = new FakeKernel();
  kernel.replies = [reply];
  const client = new KernelClient(kernel.like, 'page');
  await settle();
  expect(client.link.kind).toBe(kind);
  expect(types(kernel)).toEqual([]);
});

it('asks again when a failed cell threw its request away', async () => {
  const kernel = new FakeKernel();
  kernel.replies = [{ status: 'aborted' }, GREETING];
  const client = new KernelClient(kernel.like, 'page');
  await settle();
  expect(types(kernel)).toEqual([]);
  await new Promise(done => setTimeout(done, 300));
  await settle();
  expect(types(kernel)).toEqual(['comm_open']);
  client.dispose();
});

it('ignores what is for others and says outdated for what it cannot read', async () => {
  const { kernel, client } = await connected();
  kernel.push('another', { type: 'state' });
  expect(client.link.kind).toBe('ready');
  kernel.push(client.commId, { type: 'state', models: 'all' });
  expect(client.link.kind).toBe('outdated');
});

it('matches replies and errors to their requests', async () => {
  const { kernel, client } = await connected();
  const blocks = client.request('blocks', { model: 'net' });
  kernel.push(client.commId, { ...fixture.blocks, request: 1 });
  expect(await blocks).toMatchObject({ type: 'blocks' });
  const wrong = client.request('blocks', { model: 'none' });
  kernel.push(client.commId, { type: 'error', request: 2, message: 'no model named none' });
  await expect(wrong).rejects.toThrow('no model named none');
});

it('forgets everything on a restart and connects again when the kernel is back', async () => {
  const { kernel, client } = await connected();
  const pending = client.request('state');
  kernel.statusChanged.emit('restarting');
  await expect(pending).rejects.toThrow('went away');
  expect(client.link.kind).toBe('restarting');
  expect(client.state).toBeNull();
  kernel.statusChanged.emit('idle');
  await settle();
  expect(types(kernel).filter(type => type === 'comm_open')).toHaveLength(2);
});

it('says dead, and keeps what it knows while only the connection is gone', async () => {
  const { kernel, client } = await connected();
  kernel.connectionStatusChanged.emit('disconnected');
  expect(client.link.kind).toBe('offline');
  expect(client.state).not.toBeNull();
  kernel.connectionStatusChanged.emit('connected');
  await settle();
  kernel.push(client.commId, fixture.state);
  expect(client.link.kind).toBe('ready');
  kernel.statusChanged.emit('dead');
  expect(client.link.kind).toBe('dead');
});

it('closes its comm and listens no more when it is disposed', async () => {
  const { kernel, client } = await connected();
  let heard = 0;
  client.changed.connect(() => heard++);
  client.dispose();
  expect(types(kernel)).toEqual(['comm_open', 'comm_close']);
  kernel.push(client.commId, fixture.state);
  kernel.statusChanged.emit('dead');
  expect(heard).toBe(0);
});
