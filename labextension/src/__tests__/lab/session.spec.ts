import fixture from '../../../fixtures/messages.json';
import { ActiveSession } from '../../lab/session';
import { FakeNotebook, FakeTracker, cellOf, settle } from './fakes';

async function watched(
  ...notebooks: FakeNotebook[]
): Promise<{ session: ActiveSession; tracker: FakeTracker }> {
  const tracker = new FakeTracker(...notebooks);
  const session = new ActiveSession(tracker.like, 'page');
  session.visible = true;
  await settle();
  return { session, tracker };
}

it('listens to nothing before it is seen, to one comm while it is, and closes it when it is hidden', async () => {
  const notebook = new FakeNotebook();
  const session = new ActiveSession(new FakeTracker(notebook).like, 'page');
  await settle();
  expect(notebook.kernel.asked).toEqual([]);
  expect(session.client).toBeNull();
  session.visible = true;
  await settle();
  notebook.push(fixture.state);
  expect(session.situation).toEqual({ kind: 'ready' });
  expect(session.state?.models[0].name).toBe('net');
  session.visible = false;
  const types = notebook.kernel.sent.map(message => message.header.msg_type);
  expect(types).toEqual(['comm_open', 'comm_close']);
  expect(session.client).toBeNull();
});

it('shows what the kernel said last while a panel that is shown again waits for it', async () => {
  const notebook = new FakeNotebook();
  const { session } = await watched(notebook);
  notebook.push(fixture.state);
  session.visible = false;
  session.visible = true;
  expect(session.state?.models[0].name).toBe('net');
  await settle();
  notebook.kernel.statusChanged.emit('restarting');
  expect(session.state).toBeNull();
});

it('follows the active notebook and ignores a kernel that is not its own any more', async () => {
  const [first, second] = [new FakeNotebook('a.ipynb'), new FakeNotebook('b.ipynb')];
  const { session, tracker } = await watched(first, second);
  first.push(fixture.state);
  tracker.become(second);
  expect(session.state).toBeNull();
  await settle();
  first.push({ ...fixture.state, models: [] });
  expect(session.state).toBeNull();
  second.push(fixture.state);
  expect(session.notebook).toBe(second);
  expect(session.state?.models).toHaveLength(2);
});

it('names the notebooks on the same kernel', async () => {
  const [first, second] = [new FakeNotebook('a.ipynb'), new FakeNotebook('folder/b.ipynb')];
  second.sessionContext.session = first.sessionContext.session;
  const { session } = await watched(first, second);
  expect(session.shared).toEqual(['b.ipynb']);
  second.sessionContext.session = null;
  expect(session.shared).toEqual([]);
});

it('counts its own cells, those of other notebooks apart, and never below none', async () => {
  const [first, second] = [new FakeNotebook('a.ipynb'), new FakeNotebook('b.ipynb')];
  const { session } = await watched(first, second);
  cellOf(second, 'executionScheduled');
  expect(session.busy).toBe(false);
  cellOf(first, 'executed');
  cellOf(first, 'executionScheduled');
  expect(session.busy).toBe(true);
  cellOf(first, 'executed');
  expect(session.busy).toBe(false);
});

it('is busy, not starting, while a cell runs before the kernel has answered', async () => {
  const notebook = new FakeNotebook();
  notebook.kernel.replies = [new Promise(() => undefined)];
  const { session } = await watched(notebook);
  expect(session.situation).toEqual({ kind: 'starting' });
  cellOf(notebook, 'executionScheduled');
  expect(session.situation).toEqual({ kind: 'busy' });
});

it('says which notebook, kernel or language is missing', async () => {
  expect((await watched()).session.situation).toEqual({ kind: 'no-notebook' });
  const julia = await watched(new FakeNotebook('a.ipynb', 'julia'));
  expect(julia.session.situation).toEqual({ kind: 'other-language', language: 'julia' });
  expect(julia.session.client).toBeNull();
  const notebook = new FakeNotebook();
  notebook.sessionContext.session = null;
  const { session } = await watched(notebook);
  expect(session.situation).toEqual({ kind: 'no-kernel' });
  notebook.sessionContext.isReady = false;
  expect(session.situation).toEqual({ kind: 'starting' });
});

it('asks nothing where listing is switched off, and again when it is switched on', async () => {
  const notebook = new FakeNotebook();
  const { session } = await watched(notebook);
  session.scan = false;
  expect(session.situation).toEqual({ kind: 'scan-off' });
  expect(session.client).toBeNull();
  session.scan = true;
  await settle();
  expect(notebook.kernel.asked).toHaveLength(2);
});

it('takes up a new kernel of the same notebook', async () => {
  const notebook = new FakeNotebook();
  const { session } = await watched(notebook);
  notebook.push(fixture.state);
  const old = session.client;
  notebook.sessionContext.kernelChanged.emit(undefined);
  await settle();
  expect(old?.isDisposed).toBe(true);
  expect(session.client).not.toBe(old);
  let heard = 0;
  session.changed.connect(() => heard++);
  notebook.sessionContext.statusChanged.emit('busy');
  expect(heard).toBe(1);
});
