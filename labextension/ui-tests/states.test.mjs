/** What the panel makes of kernels, notebooks and names: the ordinary ones, the hostile and the huge. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { models, openPanel, ready, runAll, runCell, shot, violations } from './browser.mjs';
import { DEEP, HIDDEN_PACKAGE, HOSTILE, SMALL, ATTENTION } from './notebooks.mjs';
import { LIMIT, LONG, PANEL, card, useLab } from './session.mjs';

const lab = useLab({
  'small.ipynb': SMALL,
  'other.ipynb': ['import torch\nother = torch.nn.Linear(3, 5)'],
  'deep.ipynb': DEEP,
  'hostile.ipynb': HOSTILE,
  'attention.ipynb': ATTENTION
});

test('the list follows cells, a restart, notebooks and a hidden panel', LIMIT, async () => {
  const page = await lab.open('small.ipynb');
  const panel = await openPanel(page);
  await panel.getByText('torch is not imported').waitFor();
  await shot(panel, '08-no-torch');
  await runAll(page);
  assert.deepEqual(await models(panel), ['net']);
  await runCell(page, 'second = nn.Linear(2, 3)');
  await panel.locator('option', { hasText: 'second' }).waitFor({ state: 'attached' });
  await runCell(page, 'del second');
  await panel.locator('option', { hasText: 'second' }).waitFor({ state: 'detached' });

  await page.evaluate(() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart());
  await panel.getByText('torch is not imported').waitFor();
  await runAll(page);
  await panel.getByLabel('Model', { exact: true }).waitFor();

  await page.evaluate(() => window.jupyterapp.commands.execute('docmanager:open', { path: 'other.ipynb' }));
  await page.waitForFunction(() => window.jupyterapp.shell.currentWidget?.context?.path === 'other.ipynb');
  await ready(page);
  await runAll(page);
  await panel.locator('option', { hasText: 'other' }).waitFor({ state: 'attached' });
  assert.deepEqual(await models(panel), ['other']);
  await page.evaluate(async () => {
    const { shell } = window.jupyterapp;
    const [small] = [...shell.widgets('main')].filter(widget => widget.context?.path === 'small.ipynb');
    shell.activateById(small.id);
    const [other] = [...shell.widgets('main')].filter(widget => widget.context?.path === 'other.ipynb');
    await other.sessionContext.shutdown();
    const { id } = small.sessionContext.session.kernel;
    await other.sessionContext.changeKernel({ id });
  });
  await panel.getByText('shared with other.ipynb').waitFor();
  assert.deepEqual(await models(panel), ['net']);

  const listeners = 'import jlab_compress.notebook\nlen(jlab_compress.notebook.connect().comms)';
  assert.equal(await runCell(page, listeners), '1');
  await page.evaluate(() => window.jupyterapp.commands.execute('application:toggle-right-area'));
  assert.equal(await runCell(page, listeners), '0');
  await lab.over();
});

test('names from a kernel are text', LIMIT, async () => {
  const page = await lab.open('hostile.ipynb');
  await runAll(page);
  const panel = await openPanel(page, 560);
  await panel.getByRole('treegrid').getByText('onerror').first().waitFor();
  await shot(page, '11-hostile');
  await panel
    .getByRole('checkbox', { name: /onerror/ })
    .first()
    .check();
  await panel.getByRole('button', { name: 'Compress', exact: true }).click();
  await card(panel, 'net_compression').waitFor({ timeout: LONG });
  assert.equal(await page.evaluate(() => window.hit), undefined);
  assert.deepEqual(await violations(page, PANEL), []);
  await lab.over();
});

test('two thousand layers stay fluid', LIMIT, async () => {
  const page = await lab.open('deep.ipynb');
  await runAll(page);
  const panel = await openPanel(page, 520);
  const grid = panel.getByRole('treegrid');
  await grid.getByText('0.wide').first().waitFor({ timeout: LONG });
  const times = await page.evaluate(async () => {
    const table = document.querySelector('#jlab-compress-panel [role="treegrid"]');
    const field = document.querySelector('#jlab-compress-panel input[type="search"]');
    const type = Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set;
    const press = key => table.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
    const actions = {
      'arrow down': () => press('ArrowDown'),
      end: () => press('End'),
      home: () => press('Home'),
      choose: () => press(' '),
      scroll: () => (table.scrollTop += 3000),
      sort: () => table.querySelector('[role="columnheader"] button').click(),
      filter: () => {
        type.call(field, field.value === '99' ? '' : '99');
        field.dispatchEvent(new Event('input', { bubbles: true }));
      }
    };
    const found = {};
    for (const [name, action] of Object.entries(actions)) {
      const taken = [];
      for (let round = 0; round < 6; round++) {
        const start = performance.now();
        action();
        await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
        taken.push(performance.now() - start);
      }
      found[name] = taken.sort((a, b) => a - b)[2];
    }
    return found;
  });
  console.log('milliseconds until the next frame, 1,000 blocks:', times);
  await shot(page, '12-deep');
  for (const [name, taken] of Object.entries(times)) {
    assert.ok(taken < 100, `${name} took ${taken} ms`);
  }
  await lab.over();
});

test('each situation says what to do next', LIMIT, async () => {
  const page = await lab.open();
  const panel = await openPanel(page);
  await panel.getByText('No notebook is open').waitFor();
  assert.deepEqual(await violations(page, PANEL), []);
  await shot(page, '15-no-notebook');
  await page.evaluate(() => window.jupyterapp.commands.execute('docmanager:open', { path: 'other.ipynb' }));
  await page.waitForFunction(() => window.jupyterapp.shell.currentWidget?.context?.path === 'other.ipynb');
  await ready(page);
  await panel.getByText('torch is not imported').waitFor();
  await page.evaluate(() => window.jupyterapp.commands.execute('application:toggle-right-area'));
  await runCell(page, HIDDEN_PACKAGE);
  await openPanel(page);
  await panel.getByText('is missing in this kernel').waitFor();
  await panel.getByRole('button', { name: 'Copy' }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), '%pip install jlab-compress');
  await shot(panel, '16-missing');
  await page.evaluate(() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown());
  await panel.getByText('has no kernel').waitFor();
  await lab.over();
});

test('attention counts heads', LIMIT, async () => {
  const page = await lab.open('attention.ipynb');
  await runAll(page);
  const panel = await openPanel(page);
  await panel.getByLabel('Choose layers.0.self_attn').check();
  await panel.getByText('4 → 1 heads').waitFor();
  await panel.getByRole('spinbutton', { name: 'Heads' }).fill('2');
  await panel.getByRole('button', { name: 'Compress', exact: true }).click();
  await card(panel, 'encoder_compression').waitFor({ timeout: LONG });
  await page.waitForTimeout(600);
  await shot(page, '24-heads');
  assert.deepEqual(await violations(page, PANEL), []);
  await lab.over();
});
