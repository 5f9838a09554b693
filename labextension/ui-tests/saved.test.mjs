/** What stays of the panel and of results where nothing runs: saved, not trusted, converted. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { launch, openLab, runAll, runCell, setTheme, shot } from './browser.mjs';
import { SMALL } from './notebooks.mjs';
import { jupyter, startServer, writeNotebook } from './server.mjs';

const LIMIT = { timeout: 400_000 };
const LONG = 120_000;
let server;
let browser;

before(async () => {
  browser = await launch();
  server = await startServer('lab');
  writeNotebook(server, 'small.ipynb', SMALL);
  await make();
});

after(async () => {
  await browser?.close();
  server?.stop();
});

/** Run a notebook to its end, save it, and lay a copy beside it that nobody has signed. */
async function make() {
  const page = await openLab(browser, server, 'small.ipynb');
  await runAll(page);
  await runCell(page, 'import jlab_compress\njlab_compress.panel(net, calibration=x_train)');
  await page.locator('.jlc-Widget').waitFor();
  assert.ok(await page.locator('.jlc-Output img').isHidden(), 'table and picture show beside the widget');
  await runCell(page, 'jlab_compress.find_blocks(net)');
  await runCell(page, 'made = jlab_compress.compress(net, 32, calibration=x_train, progress=False)\nmade');
  await runCell(
    page,
    `jlab_compress.validate(net, made.model, [(x_train, y_train)], nn.functional.cross_entropy, steps=3,
    optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1), progress=False)`
  );
  await runCell(page, 'jlab_compress.export_onnx(made.model, "made.onnx", x_train[:8], original=net)');
  await page.evaluate(() => window.jupyterapp.commands.execute('docmanager:save'));
  await page.evaluate(() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown());
  await page.context().close();
  writeFileSync(join(server.files, 'unsigned.ipynb'), readFileSync(join(server.files, 'small.ipynb')));
}

/** The cards that a page shows: their titles, and how many pictures were drawn. */
async function cards(page) {
  await page.locator('h4', { hasText: 'Compression' }).waitFor({ timeout: LONG });
  await page.waitForTimeout(1000);
  return {
    titles: await page.locator('.jlab-compress-report:visible h4').allTextContents(),
    tables: await page.locator('.jlab-compress-report:visible table').count(),
    pictures: await page
      .locator('.jlab-compress-report:visible img')
      .evaluateAll(images => images.filter(image => image.naturalWidth > 0 && image.alt !== '').length),
    scripts: await page.locator('.jlab-compress-report script').count()
  };
}

function check({ titles, tables, pictures, scripts }) {
  assert.deepEqual(titles, ['Compress', 'Blocks', 'Compression', 'Does it train the same?', 'Export']);
  assert.ok(tables >= 7, `${tables} tables`);
  assert.ok(pictures >= 3, `${pictures} pictures`);
  assert.equal(scripts, 0);
}

for (const [name, title] of [
  ['small.ipynb', 'a saved notebook that is opened again'],
  ['unsigned.ipynb', 'a notebook that is not trusted']
]) {
  test(`${title} shows tables and pictures`, LIMIT, async () => {
    const page = await openLab(browser, server, name);
    check(await cards(page));
    assert.equal(await page.getByText('Error displaying widget').isVisible(), false);
    assert.equal(await page.locator('.jlc-Widget').count(), 0);
    await page.locator('.jlc-Output').scrollIntoViewIfNeeded();
    await shot(page, name === 'small.ipynb' ? '20-saved' : '21-untrusted');
    if (name === 'unsigned.ipynb') {
      await setTheme(page, 'JupyterLab Dark');
      await page.locator('img[alt^="Training"], .jlab-compress-report img').nth(1).scrollIntoViewIfNeeded();
      await shot(page, '22-pictures-dark');
      await setTheme(page, 'JupyterLab Light');
    }
    await page.evaluate(() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown());
    await page.context().close();
  });
}

test('a converted notebook shows them too', LIMIT, async () => {
  const file = join(server.files, 'small.html');
  const source = join(server.files, 'small.ipynb');
  await promisify(execFile)(jupyter(), ['nbconvert', '--to', 'html', '--output', file, source]);
  const page = await browser.newPage();
  await page.goto(`file://${file}`);
  check(await cards(page));
  await shot(page, '23-converted');
  await page.close();
});
