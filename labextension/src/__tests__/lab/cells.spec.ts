import { NotebookActions } from '@jupyterlab/notebook';
import { insertAndRun } from '../../lab/cells';
import { FakeNotebook } from './fakes';

// Cells are made outside of a document before they are put into one; the library warns of its own way.
beforeEach(() => jest.spyOn(console, 'warn').mockImplementation(() => undefined));
afterEach(() => jest.restoreAllMocks());

const run = (done: boolean): jest.SpyInstance =>
  jest.spyOn(NotebookActions, 'run').mockImplementation(async () => done);

function withCells(...sources: string[]): FakeNotebook {
  const notebook = new FakeNotebook();
  sources.forEach((source, index) =>
    notebook.model.sharedModel.insertCell(index, { cell_type: 'code', source })
  );
  return notebook;
}

it('one code cell below the active one is written and run, as the only selected one', async () => {
  const ran = run(true);
  const notebook = withCells('a', 'b');
  expect(await insertAndRun(notebook.like, 'net_slim = 1')).toBe('done');
  expect(notebook.sources).toEqual(['a', 'net_slim = 1', 'b']);
  expect(notebook.model.sharedModel.cells[1].cell_type).toBe('code');
  expect(notebook.content.activeCellIndex).toBe(1);
  expect(notebook.content.deselectAll).toHaveBeenCalledTimes(1);
  expect(ran).toHaveBeenCalledWith(notebook.content, notebook.sessionContext);
});

it('in an empty notebook it is the first one', async () => {
  run(true);
  const notebook = withCells();
  await insertAndRun(notebook.like, 'x');
  expect(notebook.sources).toEqual(['x']);
});

it('a cell that fails says so, and an error of the notebook is passed on', async () => {
  run(false);
  expect(await insertAndRun(withCells('a').like, 'x')).toBe('failed');
  jest.spyOn(NotebookActions, 'run').mockRejectedValue(new Error('no kernel'));
  await expect(insertAndRun(withCells('a').like, 'x')).rejects.toThrow('no kernel');
});

it('a notebook that cannot be edited stays as it is', async () => {
  const ran = run(true);
  const notebook = withCells('a');
  notebook.model.readOnly = true;
  expect(await insertAndRun(notebook.like, 'x')).toBe('read-only');
  notebook.content.model = null;
  expect(await insertAndRun(notebook.like, 'x')).toBe('read-only');
  expect(notebook.sources).toEqual(['a']);
  expect(ran).not.toHaveBeenCalled();
});
