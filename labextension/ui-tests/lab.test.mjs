/** JupyterLab in a real Chromium, as a person would use it. */

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { models, openPanel, ready, resize, runAll, runCell, setTheme, shot, violations } from './browser.mjs';
import { SMALL, TWO, digits } from './notebooks.mjs';
import { LIMIT, LONG, PANEL, card, clipped, useLab } from './session.mjs';

const lab = useLab({ 'digits.ipynb': digits(), 'small.ipynb': SMALL, 'two.ipynb': TWO });

test('from the digits notebook to an ONNX file', LIMIT, async () => {
  const page = await lab.open('digits.ipynb');
  await runAll(page);
  const panel = await openPanel(page);
  await panel.getByLabel('Choose 0').check();
  await panel.getByLabel('Neurons').fill('64');
  await shot(page, '01-plan');

  await panel.getByRole('button', { name: 'Compress', exact: true }).click();
  await card(panel, 'net_compression').waitFor({ timeout: LONG });
  await page.waitForTimeout(600);
  await shot(page, '02-compressed');
  assert.deepEqual(await models(panel), ['net', 'net_slim (slim)']);

  await panel.getByRole('tab', { name: /Validate/ }).click();
  await panel.getByRole('spinbutton', { name: 'steps' }).fill('40');
  assert.deepEqual(await violations(page, PANEL), []);
  await panel.getByRole('button', { name: 'Validate', exact: true }).click();
  await card(panel, 'net_validation').waitFor({ timeout: LONG });
  await page.waitForTimeout(600);
  await shot(page, '03-validated');
  assert.ok(await panel.locator('.jlc-Chart').first().isVisible());

  await panel.getByRole('tab', { name: /Export/ }).click();
  await panel.getByRole('button', { name: 'Export', exact: true }).click();
  await card(panel, 'net_export').waitFor({ timeout: LONG });
  await page.waitForTimeout(600);
  await shot(page, '04-exported');
  assert.ok(existsSync(join(lab.server.files, 'net_slim.onnx')));
  assert.equal(await panel.locator('.jlc-Copyable code').first().textContent(), 'net_slim.onnx');
  assert.deepEqual(await violations(page, PANEL), []);
  await setTheme(page, 'JupyterLab Dark');
  assert.deepEqual(await violations(page, PANEL), []);
  await shot(page, '05-dark');
  await setTheme(page, 'JupyterLab Light');
  await lab.over();
});

test('a repository in half precision, served here and compared', LIMIT, async () => {
  const page = await lab.open('small.ipynb');
  await runAll(page);
  const panel = await openPanel(page);
  await panel.getByLabel('Choose 0').check();
  await panel.getByRole('button', { name: 'Compress', exact: true }).click();
  await card(panel, 'net_compression').waitFor({ timeout: LONG });
  await panel.getByRole('tab', { name: /Export/ }).click();
  await panel.getByLabel('Target').selectOption('kserve');
  await panel.getByLabel('Precision').selectOption('float16');
  await panel.getByRole('button', { name: 'Export', exact: true }).click();
  await card(panel, 'net_export').waitFor({ timeout: LONG });
  const [version] = ['1', '2'].map(number => join(lab.server.files, 'model_repository', 'net', number));
  assert.ok(existsSync(join(version, 'model.onnx')));
  assert.ok(existsSync(join(version, '..', 'inferenceservice.yaml')));
  await panel.getByLabel('Precision').selectOption('float32');
  await panel.getByRole('button', { name: 'Serve here and compare' }).click();
  await card(panel, 'net_served').waitFor({ timeout: LONG });
  await panel.locator('.jlc-Summary', { hasText: "answered with the model's outputs" }).waitFor();
  assert.equal(await runCell(page, 'net_served.agrees, net_served.repository.version'), '(True, 2)');
  await page.waitForTimeout(600);
  await shot(page, '18-served');
  assert.deepEqual(await violations(page, PANEL), []);
  await lab.over();
});

test('a budget is shared out while it is dragged, and plans stay in the notebook', LIMIT, async () => {
  const page = await lab.open('two.ipynb');
  await runAll(page);
  let panel = await openPanel(page);
  await panel.getByLabel('Choose 0', { exact: true }).check();
  await panel.getByLabel('Choose 4', { exact: true }).check();
  await panel.getByRole('button', { name: 'Predict errors' }).click();
  await card(panel, 'pair_sweep').waitFor({ timeout: LONG });
  await panel.getByLabel('All chosen').selectOption('smaller');
  const whole = panel.getByRole('table', { name: 'The whole model' });
  const told = () => whole.getByRole('row', { name: /^(Parameters|Predicted error)/ }).allTextContents();
  await whole
    .getByRole('row', { name: /^Parameters/ })
    .getByText(/^(3\.9\d|4(\.0\d)?)×$/)
    .waitFor();
  const before = await told();
  await panel.getByRole('slider', { name: 'Budget' }).press('ArrowRight');
  await panel.getByRole('slider', { name: 'Budget' }).press('ArrowRight');
  const after = await told();
  assert.ok(
    before.every((line, index) => line !== after[index]),
    `${before} did not follow: ${after}`
  );
  await panel.getByRole('button', { name: 'Allocate by sensitivity' }).click();
  await panel.getByText('The widths of 2 blocks are set.').waitFor({ timeout: LONG });
  assert.match(await runCell(page, 'pair_widths'), /^\{'0': \d+, '4': \d+\}$/);
  await panel.getByText('Plans').click();
  await panel.getByRole('button', { name: 'Save', exact: true }).click();
  await panel.getByLabel('All chosen').selectOption('polylog');
  await panel.getByLabel('Name of the plan').fill('log');
  await panel.getByRole('button', { name: 'Save', exact: true }).click();
  await panel.getByLabel('Compare Plan 1').check();
  await panel.getByLabel('Compare log').check();
  const side = panel.getByRole('group', { name: 'Plans side by side' });
  assert.match(await side.innerText(), /4\s+\d+\s+polylog/);
  await panel.getByLabel('Copy log as code').click();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(copied, '{"0": "polylog", "4": "polylog"}');
  await side.scrollIntoViewIfNeeded();
  assert.deepEqual(await violations(page, PANEL), []);
  await shot(page, '19-plans');
  await page.evaluate(() => window.jupyterapp.commands.execute('docmanager:save'));
  await page.goto(`${lab.server.url}/lab/tree/two.ipynb`);
  await page.waitForFunction(() => window.jupyterapp !== undefined);
  await ready(page);
  panel = await openPanel(page);
  await panel.getByText('Plans').click();
  await panel.getByLabel('Load log').click();
  await panel.getByRole('button', { name: 'polylog', pressed: true }).waitFor();
  await lab.over();
});

test('the keyboard alone is enough, in 360 pixels too', LIMIT, async () => {
  const page = await lab.open('small.ipynb');
  await runAll(page);
  const panel = await openPanel(page, 360);
  const grid = panel.getByRole('treegrid');
  await grid.getByText('256').waitFor();
  await page.keyboard.press('Tab');
  for (let step = 0; step < 12 && !(await grid.evaluate(node => node === document.activeElement)); step++) {
    await page.keyboard.press('Tab');
  }
  await page.keyboard.press('Space');
  await page.keyboard.press('Enter');
  for (let step = 0; step < 60; step++) {
    await page.keyboard.press('ArrowLeft');
  }
  assert.equal(await panel.getByRole('slider').getAttribute('aria-valuetext'), '1 of 256 neurons');
  await panel.getByRole('button', { name: 'Predict errors' }).click();
  await card(panel, 'net_sweep').waitFor({ timeout: LONG });
  const neurons = panel.getByRole('spinbutton', { name: 'Neurons' });
  await neurons.fill('100');
  const predicted = panel.getByRole('row', { name: /^Predicted error/ });
  const [, error] = (await predicted.innerText()).match(/([\d.]+) %/);
  await neurons.fill('7');
  await panel.getByLabel('All chosen').selectOption('error');
  await panel.getByRole('spinbutton', { name: 'percent' }).fill(String(1.01 * error));
  const width = Number(await neurons.inputValue());
  assert.ok(width >= 92 && width <= 100, `${width} neurons for an error of ${error} %`);
  await panel.evaluate(node => node.querySelector('.jlc-App').scrollTo(0, 0));
  await shot(page, '06-narrow');
  const overflow = await panel.evaluate(node => node.scrollWidth - node.clientWidth);
  assert.ok(overflow <= 0, `the panel is ${overflow} pixels too wide`);
  await panel.getByRole('button', { name: 'Compress', exact: true }).focus();
  await page.keyboard.press('Enter');
  await card(panel, 'net_compression').waitFor({ timeout: LONG });
  assert.deepEqual(await violations(page, PANEL), []);
  await resize(page, 270);
  await panel.evaluate(node => node.querySelector('.jlc-App').scrollTo(0, 0));
  await shot(panel, '07-narrowest');
  const cut = await panel.evaluate(node => {
    const right = node.getBoundingClientRect().right;
    const parts = [...node.querySelectorAll('.jlc-Cell, td, th, button, select, .jlc-Number')];
    return parts
      .filter(part => part.closest('.jlc-Scroll') === null && part.getBoundingClientRect().right > right)
      .map(part => part.outerHTML.slice(0, 120));
  });
  assert.deepEqual(cut, [], 'parts of the panel are cut off at 270 pixels');
  assert.deepEqual(await clipped(panel), []);
  await lab.over();
});

test(
  'a page that is loaded again in the middle of a validation hears its progress and can stop it',
  LIMIT,
  async () => {
    const page = await lab.open('small.ipynb');
    await runAll(page);
    let panel = await openPanel(page);
    await runCell(
      page,
      `import jlab_compress
net_compression = jlab_compress.compress(net, 32, calibration=x_train, progress=False)
net_slim = net_compression.model`
    );
    await panel.getByRole('tab', { name: /Validate/ }).click();
    await panel.getByRole('spinbutton', { name: 'steps' }).fill('5000');
    await panel.getByRole('button', { name: 'Validate', exact: true }).click();
    await panel.getByText(/ left$/).waitFor({ timeout: LONG });
    await page.evaluate(() => window.jupyterapp.commands.execute('docmanager:save'));
    page.on('dialog', dialog => void dialog.accept());
    await page.goto(`${lab.server.url}/lab/tree/small.ipynb`);
    await page.waitForFunction(() => window.jupyterapp !== undefined);
    panel = page.locator(PANEL);
    await page.evaluate(async () => {
      await window.jupyterapp.restored;
      await window.jupyterapp.commands.execute('jlab-compress:open');
    });
    await panel.getByText(/ left$/).waitFor({ timeout: LONG });
    await shot(page, '09-after-reload');
    await panel.getByRole('button', { name: 'Stop' }).click();
    await panel.getByLabel('Model', { exact: true }).waitFor({ timeout: LONG });
    assert.deepEqual(await models(panel), ['net', 'net_slim (slim)']);
    await lab.over();
  }
);

test('a stopped compression leaves the model as it was', LIMIT, async () => {
  const page = await lab.open('digits.ipynb');
  await runAll(page);
  const panel = await openPanel(page);
  await runCell(page, 'before = [p.clone() for p in net.parameters()]');
  await panel.getByLabel('Choose 0').check();
  await panel.getByLabel('Neurons').fill('512');
  await panel.getByRole('button', { name: 'Compress', exact: true }).click();
  await page.waitForTimeout(1500);
  await shot(page, '10-compressing');
  await panel.getByRole('button', { name: 'Stop' }).click();
  await panel.getByText('The cell ended with an error').waitFor({ timeout: LONG });
  const same = 'all(torch.equal(a, b) for a, b in zip(before, net.parameters())), "net_slim" in globals()';
  assert.equal(await runCell(page, same), '(True, False)');
  await lab.over();
});

test('the panel in a cell does the same', LIMIT, async () => {
  const page = await lab.open('small.ipynb');
  await runAll(page);
  await runCell(page, 'import jlab_compress\npanel = jlab_compress.panel(net, calibration=x_train)\npanel');
  const widget = page.locator('.jlc-Widget');
  await widget.getByLabel('Choose 0').check();
  await widget.getByLabel('Neurons').fill('24');
  await widget.scrollIntoViewIfNeeded();
  await shot(page, '13-widget');
  await widget.getByRole('button', { name: 'Compress', exact: true }).click();
  await card(widget, 'net_compression').waitFor({ timeout: LONG });
  assert.equal(await runCell(page, 'panel.slim[0].out_features'), '24');
  assert.deepEqual(await violations(page, '.jlc-Widget'), []);
  await shot(page, '14-widget-compressed');
  await lab.over();
});
