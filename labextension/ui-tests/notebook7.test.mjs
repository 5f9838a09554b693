/** The same bundle in Notebook 7. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launch, ready, shot } from './browser.mjs';
import { SMALL } from './notebooks.mjs';
import { clipped } from './session.mjs';
import { startServer, writeNotebook } from './server.mjs';

const LIMIT = { timeout: 400_000 };
let server;
let browser;

before(async () => {
  browser = await launch();
  server = await startServer('notebook');
  writeNotebook(server, 'small.ipynb', SMALL);
});

after(async () => {
  await browser?.close();
  server?.stop();
});

test('opens from the View menu and lists the model', LIMIT, async () => {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  await page.goto(`${server.url}/notebooks/small.ipynb`);
  await page.waitForFunction(() => window.jupyterapp !== undefined, null, { timeout: 60_000 });
  await ready(page);
  await page.evaluate(() => window.jupyterapp.commands.execute('notebook:run-all-cells'));
  await page.getByRole('menuitem', { name: 'View' }).click();
  await page.getByRole('menuitem', { name: 'Compress Model' }).click();
  const panel = page.locator('#jlab-compress-panel');
  await panel.getByLabel('Choose 0').check();
  await shot(page, '17-notebook-7');
  assert.deepEqual(await clipped(panel), []);
  const [bar, cell] = [panel, panel.locator('.jlc-Grid-body .jlc-mod-error')].map(part => part.boundingBox());
  assert.ok((await cell).x + (await cell).width <= (await bar).x + (await bar).width, 'the error is cut off');
  assert.ok(await panel.getByRole('button', { name: 'Compress', exact: true }).isEnabled());
});
