import { NotebookActions } from '@jupyterlab/notebook';
import { CommandRegistry } from '@lumino/commands';
import fixture from '../../../fixtures/messages.json';
import { plainTrans } from '../../host';
import { LabHost } from '../../lab/host';
import { PanelService } from '../../lab/service';
import { ActiveSession } from '../../lab/session';
import { IRequest, codeOf } from '../../python/cells';
import { COMMANDS } from '../../tokens';
import { FakeNotebook, FakeTracker, settle } from './fakes';

const REQUEST: IRequest = {
  action: 'run',
  model: 'net',
  fields: { model: 'net', widths: { '0': 8 }, calibration: 'x' }
};

beforeEach(() => {
  sessionStorage.clear();
  jest.spyOn(console, 'warn').mockImplementation(() => undefined); // the library's own, on new cells
});
afterEach(() => jest.restoreAllMocks());

interface IOpened {
  host: LabHost;
  tracker: FakeTracker;
  commands: CommandRegistry;
  /** How often the host told its listener that something changed. */
  heard: jest.Mock;
}

async function opened(...notebooks: FakeNotebook[]): Promise<IOpened> {
  const tracker = new FakeTracker(...notebooks);
  const session = new ActiveSession(tracker.like, 'page');
  const commands = new CommandRegistry();
  const host = new LabHost(session, commands, plainTrans);
  session.visible = true;
  await settle();
  const heard = jest.fn();
  host.subscribe(heard);
  return { host, tracker, commands, heard };
}

/** The next run of a cell, to be ended by the test. */
function pendingRun(): { end: (done: boolean) => Promise<void>; fail: (reason: Error) => Promise<void> } {
  let resolve: (done: boolean) => void = () => undefined;
  let reject: (reason: Error) => void = () => undefined;
  const running = new Promise<boolean>((good, bad) => ([resolve, reject] = [good, bad]));
  jest.spyOn(NotebookActions, 'run').mockReturnValue(running);
  return {
    end: done => (resolve(done), settle()),
    fail: reason => (reject(reason), settle())
  };
}

it('gives the same state until something changes, and tells its listeners when it does', async () => {
  const notebook = new FakeNotebook();
  const { host, heard } = await opened(notebook);
  const before = host.getState();
  expect(host.getState()).toBe(before);
  notebook.push(fixture.state);
  expect(heard).toHaveBeenCalledTimes(1);
  expect(host.getState().state?.models[0].name).toBe('net');
  expect(host.getState().notebook).toBe('a.ipynb');
  host.defaults = { steps: 7 };
  expect(host.getState().defaults).toMatchObject({ steps: 7, tolerance: 1 });
});

it('runs a request as a cell of the active notebook', async () => {
  const notebook = new FakeNotebook();
  const { host } = await opened(notebook);
  const run = pendingRun();
  host.run(REQUEST);
  await settle();
  expect(notebook.sources).toEqual([codeOf(REQUEST)]);
  expect(host.getState().run).toMatchObject({ action: 'run', model: 'net' });
  await run.end(true);
  expect(host.getState()).toMatchObject({ run: null, failure: null });
});

it('says that a cell failed until the next one runs', async () => {
  const { host } = await opened(new FakeNotebook());
  const first = pendingRun();
  host.run(REQUEST);
  await first.end(false);
  expect(host.getState().failure).toBe('The cell ended with an error; it says why.');
  const second = pendingRun();
  host.run(REQUEST);
  expect(host.getState().failure).toBeNull();
  await second.fail(new Error('the notebook is gone'));
  expect(host.getState()).toMatchObject({ run: null, failure: 'Error: the notebook is gone' });
});

it('keeps what runs and what failed with its notebook', async () => {
  const [first, second] = [new FakeNotebook('a.ipynb'), new FakeNotebook('b.ipynb')];
  const { host, tracker } = await opened(first, second);
  const run = pendingRun();
  host.run(REQUEST);
  tracker.become(second);
  expect(host.getState()).toMatchObject({ notebook: 'b.ipynb', run: null });
  await run.end(false);
  expect(host.getState().failure).toBeNull();
  tracker.become(first);
  expect(host.getState()).toMatchObject({ run: null, failure: /ended with an error/ });
});

it('writes no cell into a notebook that cannot be edited, or into none', async () => {
  const notebook = new FakeNotebook();
  notebook.model.readOnly = true;
  const { host, tracker } = await opened(notebook);
  host.run(REQUEST);
  await settle();
  expect(host.getState().failure).toBe('This notebook cannot be edited, so no cell could be written.');
  tracker.become(null);
  host.run(REQUEST);
  await settle();
  expect(notebook.sources).toEqual([]);
});

it('keeps plans in the notebook, and takes from it only what is a plan', async () => {
  const notebook = new FakeNotebook();
  const { host } = await opened(notebook);
  const plan = { name: 'small', model: 'net', widths: { '0': 8 } };
  host.savePlans([plan]);
  expect(notebook.model.getMetadata('jlab-compress')).toEqual({ plans: [plan] });
  expect(host.getState().plans).toEqual([plan]);
  notebook.model.setMetadata('jlab-compress', { plans: [plan, { name: 5 }] });
  host.defaults = {};
  expect(host.getState().plans).toEqual([plan]);
});

it('remembers choices over a reload of the page, one value a notebook', async () => {
  const { host } = await opened(new FakeNotebook());
  host.remember('a.ipynb', { flow: { step: 'export' } });
  expect((await opened()).host.recall('a.ipynb')).toEqual({ flow: { step: 'export' } });
  expect(host.recall('b.ipynb')).toBeNull();
  sessionStorage.setItem('jlab-compress:a.ipynb', '{');
  expect(host.recall('a.ipynb')).toBeNull();
});

it('a store that is full costs the memory of a reload, nothing else', async () => {
  const { host } = await opened(new FakeNotebook());
  jest.spyOn(Storage.prototype, 'setItem').mockImplementation(() => {
    throw new Error('full');
  });
  expect(() => host.remember('a.ipynb', {})).not.toThrow();
});

it('acts as the person asks', async () => {
  const notebook = new FakeNotebook();
  const { host, commands } = await opened(notebook);
  const executed: string[] = [];
  for (const id of ['notebook:create-new', 'notebook:change-kernel']) {
    commands.addCommand(id, { execute: () => executed.push(id) });
  }
  host.act('open-notebook');
  host.act('choose-kernel');
  expect(executed).toEqual(['notebook:create-new', 'notebook:change-kernel']);
  host.act('restart-kernel');
  expect(notebook.sessionContext.restartKernel).toHaveBeenCalledTimes(1);
  host.onScan = jest.fn();
  host.act('switch-scan-on');
  expect(host.onScan).toHaveBeenCalledTimes(1);
  host.stop();
  expect(notebook.sessionContext.session?.kernel?.interrupt).toHaveBeenCalledTimes(1);
  host.act('connect');
  expect(notebook.kernel.asked).toHaveLength(2);
});

it('a refresh asks a kernel that is ready for its state, and any other one to connect', async () => {
  const notebook = new FakeNotebook();
  const { host } = await opened(notebook);
  notebook.push(fixture.state);
  host.refresh();
  host.loadBlocks('net');
  const asked = notebook.kernel.sent.slice(1).map(message => message.content.data);
  expect(asked).toEqual([
    { op: 'state', request: 1 },
    { op: 'blocks', request: 2, model: 'net' }
  ]);
  notebook.kernel.connectionStatusChanged.emit('disconnected');
  host.refresh();
  expect(notebook.kernel.asked).toHaveLength(2);
});

it('another extension sees the model that is shown and its results, and opens the panel', async () => {
  const notebook = new FakeNotebook();
  const { host, commands } = await opened(notebook);
  const open = jest.fn();
  commands.addCommand(COMMANDS.open, { execute: open });
  const service = new PanelService(host, commands);
  expect(service.model).toBeNull();
  const heard = jest.fn();
  service.changed.connect(heard);
  notebook.push(fixture.state);
  host.shows('net');
  host.shows('net');
  expect(heard).toHaveBeenCalledTimes(2);
  expect(service.model?.blocks?.[0].name).toBe('0');
  expect(service.results.map(({ kind }) => kind)).toEqual(['sweep', 'compression']);
  await service.open();
  expect(open).toHaveBeenCalledTimes(1);
  host.shows(null);
  expect(service.model).toBeNull();
});
