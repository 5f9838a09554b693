import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { CommandRegistry } from '@lumino/commands';
import { Widget } from '@lumino/widgets';
import plugins, { COMMANDS, ICompressPanel, PANEL } from '../index';
import { FakeNotebook, FakeTracker } from './lab/fakes';

const [panel, outputs] = plugins as JupyterFrontEndPlugin<ICompressPanel>[];

it('needs notebooks and nothing else, adds one panel and one command, and provides the panel to others', async () => {
  const shell = { add: jest.fn(), activateById: jest.fn() };
  const app = { commands: new CommandRegistry(), shell } as unknown as JupyterFrontEnd;
  const without = (panel.optional ?? []).map(() => null);
  const service = await panel.activate(app, new FakeTracker(new FakeNotebook()).like, ...without);
  const [[widget, area]] = shell.add.mock.calls as [[Widget, string]];
  expect([widget.id, area]).toEqual([PANEL, 'right']);
  expect(app.commands.listCommands()).toEqual([COMMANDS.open]);
  expect(app.commands.label(COMMANDS.open)).toBe('Compress Model');
  await service.open();
  expect(shell.activateById).toHaveBeenCalledWith(PANEL);
  expect(service.model).toBeNull();
  expect(panel.provides).toBe(ICompressPanel);
});

it('stands where the panel is opened from, in palette, menu and launcher, and is restored', async () => {
  const app = { commands: new CommandRegistry(), shell: { add: jest.fn() } } as unknown as JupyterFrontEnd;
  const [restorer, palette, launcher] = [{ add: jest.fn() }, { addItem: jest.fn() }, { add: jest.fn() }];
  const menu = { viewMenu: { addGroup: jest.fn() } };
  await panel.activate(app, new FakeTracker().like, restorer, palette, menu, launcher, null, null);
  const item = expect.objectContaining({ command: COMMANDS.open });
  expect(restorer.add).toHaveBeenCalledWith(expect.any(Widget), PANEL);
  expect(palette.addItem).toHaveBeenCalledWith(item);
  expect(menu.viewMenu.addGroup).toHaveBeenCalledWith([item], 40);
  expect(launcher.add).toHaveBeenCalledWith(item);
});

it('saved panels are shown by a plugin of their own', () => {
  expect(outputs.provides).toBeUndefined();
  expect(outputs.id).toBe('jlab-compress:outputs');
});
