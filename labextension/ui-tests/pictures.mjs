/** The pictures of the panel in README.md, made anew: `jlpm pictures`. */

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { launch, openLab, openPanel, runAll, setTheme } from './browser.mjs';
import { digits } from './notebooks.mjs';
import { LONG, card } from './session.mjs';
import { ROOT, startServer, writeNotebook } from './server.mjs';

const IMAGES = join(ROOT, 'docs', 'images');

/** Press a button, and wait until its result is shown and the panel has scrolled to it. */
async function make(panel, button, result) {
  await panel.getByRole('button', { name: button, exact: true }).click();
  await card(panel, result).waitFor({ timeout: LONG });
  await panel.page().waitForTimeout(1000);
}

mkdirSync(IMAGES, { recursive: true });
const browser = await launch();
const server = await startServer('lab');
try {
  writeNotebook(server, 'digits.ipynb', digits());
  const page = await openLab(browser, server, 'digits.ipynb', { size: [1440, 980] });
  await page.evaluate(() => window.jupyterapp.shell.collapseLeft());
  await runAll(page);
  const panel = await openPanel(page, 430);
  await panel.getByLabel('Choose 0').check();
  await panel.getByLabel('Neurons').fill('64');
  await make(panel, 'Predict errors', 'net_sweep');
  await make(panel, 'Compress', 'net_compression');
  await panel.locator('.jlc-App').evaluate(node => node.scrollTo(0, 0));
  await page.screenshot({ path: join(IMAGES, 'panel-light.png') });

  await setTheme(page, 'JupyterLab Dark');
  await panel.getByRole('tab', { name: /Validate/ }).click();
  await panel.getByRole('spinbutton', { name: 'steps' }).fill('60');
  await make(panel, 'Validate', 'net_validation');
  await panel.locator('.jlc-Steps').evaluate(node => node.scrollIntoView());
  await page.screenshot({ path: join(IMAGES, 'panel-dark.png') });
} finally {
  await browser.close();
  server.stop();
}
