/** Plugins, and the names that other extensions may use. */

import { ILayoutRestorer, JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import { IMainMenu } from '@jupyterlab/mainmenu';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IRenderMimeRegistry } from '@jupyterlab/rendermime';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { UUID } from '@lumino/coreutils';
import { LabHost } from './lab/host';
import { compressIcon } from './lab/icons';
import { CompressPanel } from './lab/panel';
import { showOutputs } from './lab/savedPanel';
import { PanelService } from './lab/service';
import { ActiveSession } from './lab/session';
import { followSettings } from './lab/settings';
import { COMMANDS, EXTENSION, ICompressPanel, OUTPUTS, PANEL, PLUGIN } from './tokens';

export * from './tokens';

const plugin: JupyterFrontEndPlugin<ICompressPanel> = {
  id: PLUGIN,
  description: 'Shows the torch models of the active notebook and drives their compression.',
  autoStart: true,
  provides: ICompressPanel,
  requires: [INotebookTracker],
  optional: [ILayoutRestorer, ICommandPalette, IMainMenu, ILauncher, ISettingRegistry, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    menu: IMainMenu | null,
    launcher: ILauncher | null,
    settings: ISettingRegistry | null,
    translator: ITranslator | null
  ) => {
    const trans = (translator ?? nullTranslator).load(EXTENSION.replace('-', '_'));
    const session = new ActiveSession(tracker, pageId());
    const host = new LabHost(session, app.commands, trans);
    const panel = new CompressPanel(session, host);
    app.shell.add(panel, 'right', { rank: 850, type: 'Compress' });
    restorer?.add(panel, PANEL);
    app.commands.addCommand(COMMANDS.open, {
      label: trans.__('Compress Model'),
      caption: trans.__('Show the torch models of the active notebook and compress them'),
      icon: compressIcon,
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => app.shell.activateById(panel.id)
    });
    palette?.addItem({ command: COMMANDS.open, category: trans.__('Notebook Operations') });
    menu?.viewMenu.addGroup([{ command: COMMANDS.open }], 40);
    launcher?.add({ command: COMMANDS.open, category: trans.__('Other'), rank: 20 });
    if (settings !== null) {
      void followSettings(settings, host, session);
    }
    return new PanelService(host, app.commands);
  }
};

const outputs: JupyterFrontEndPlugin<void> = {
  id: OUTPUTS,
  description: 'Shows a saved in-cell panel as a table and a picture.',
  autoStart: true,
  requires: [IRenderMimeRegistry, INotebookTracker],
  activate: (_: JupyterFrontEnd, registry: IRenderMimeRegistry, tracker: INotebookTracker) =>
    showOutputs(registry, tracker)
};

/** One name per browser tab that a reload keeps. */
function pageId(): string {
  const key = 'jlab-compress:page';
  try {
    const known = sessionStorage.getItem(key) ?? UUID.uuid4();
    sessionStorage.setItem(key, known);
    return known;
  } catch {
    return UUID.uuid4();
  }
}

export default [plugin, outputs];
