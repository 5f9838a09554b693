/** One server and one browser for the tests of a file, one page at a time. */

import assert from 'node:assert/strict';
import { after, before, beforeEach } from 'node:test';
import { launch, openLab } from './browser.mjs';
import { startServer, writeNotebook } from './server.mjs';

export const PANEL = '#jlab-compress-panel';
export const LONG = 200_000;
export const LIMIT = { timeout: 400_000 };

/** `notebooks` maps file names to their cells. */
export function useLab(notebooks) {
  const lab = {
    server: undefined,
    browser: undefined,
    page: undefined,
    async open(notebook) {
      lab.page = await openLab(lab.browser, lab.server, notebook);
      return lab.page;
    },
    /** Nothing was thrown; the kernel ends, so that two cores are enough for the next test. */
    async over() {
      assert.deepEqual(lab.page.errors, []);
      await lab.page.evaluate(() => window.jupyterapp.shell.currentWidget?.sessionContext.shutdown());
    }
  };
  before(async () => {
    lab.browser = await launch();
    lab.server = await startServer('lab');
    for (const [name, cells] of Object.entries(notebooks)) {
      writeNotebook(lab.server, name, cells);
    }
  });
  after(async () => {
    await lab.browser?.close();
    lab.server?.stop();
  });
  beforeEach(async () => {
    await lab.page?.context().close();
    lab.page = undefined;
  });
  return lab;
}

/** The result of this name, shown in the panel. */
export const card = (panel, name) => panel.locator('.jlc-Card code', { hasText: name });

/** Figures of the table whose text does not fit into its cell. */
export const clipped = panel =>
  panel
    .locator('.jlc-Grid .jlc-mod-width, .jlc-Grid .jlc-mod-share, .jlc-Grid .jlc-mod-error')
    .evaluateAll(cells =>
      cells.filter(cell => cell.scrollWidth > cell.clientWidth).map(cell => cell.textContent)
    );
