/** Put one readable cell below the active one and run it, as a person would. */

import { ISessionContext } from '@jupyterlab/apputils';
import { NotebookActions, NotebookPanel } from '@jupyterlab/notebook';

/** Resolves with whether the cell ran to its end, failed, or could not be written. */
export async function insertAndRun(
  panel: NotebookPanel,
  code: string
): Promise<'done' | 'failed' | 'read-only'> {
  const notebook = panel.content;
  const model = notebook.model;
  if (model === null || model.readOnly) {
    return 'read-only';
  }
  const index = Math.min(notebook.activeCellIndex + 1, model.cells.length);
  model.sharedModel.insertCell(index, {
    cell_type: 'code',
    source: code,
    metadata: { trusted: true }
  });
  notebook.activeCellIndex = index;
  notebook.deselectAll();
  void notebook.scrollToItem(index, 'smart');
  const done = await NotebookActions.run(notebook, panel.sessionContext as ISessionContext);
  return done ? 'done' : 'failed';
}
