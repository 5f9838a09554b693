/** Debian's Chromium, driven by playwright-core; its absence is a failure with the line to type. */

import { existsSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { ROOT } from './server.mjs';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
export const SHOTS = join(ROOT, 'build', 'screenshots');

export async function launch() {
  if (!existsSync(CHROMIUM)) {
    throw new Error(`The browser test needs Chromium (${CHROMIUM}): sudo apt-get install chromium`);
  }
  mkdirSync(SHOTS, { recursive: true });
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync'
    ]
  });
}

export async function openLab(browser, server, notebook, { size = [1440, 960], reset = true } = {}) {
  const context = await browser.newContext({ viewport: { width: size[0], height: size[1] } });
  await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: server.url });
  const page = await context.newPage();
  page.errors = [];
  page.on('pageerror', error => page.errors.push(String(error)));
  const path = notebook === undefined ? '/lab' : `/lab/tree/${notebook}`;
  await page.goto(`${server.url}${path}${reset ? '?reset' : ''}`);
  await page.waitForFunction(() => window.jupyterapp !== undefined, null, { timeout: 60_000 });
  await page.evaluate(() => window.jupyterapp.restored);
  if (notebook !== undefined) {
    await ready(page);
  }
  return page;
}

/** Wait until the current notebook is shown and has a kernel that answered. */
export async function ready(page) {
  await page.waitForFunction(() => window.jupyterapp?.shell.currentWidget?.sessionContext, null, {
    timeout: 60_000
  });
  await page.evaluate(async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    await Promise.all([panel.revealed, panel.context.ready, panel.sessionContext.ready]);
    while (!panel.sessionContext.session?.kernel) {
      await new Promise(done => setTimeout(done, 100));
    }
    await panel.sessionContext.session.kernel.info;
  });
}

/** Run every cell and wait for the promise of the execution. */
export async function runAll(page) {
  await page.evaluate(async () => {
    const { commands, shell } = window.jupyterapp;
    shell.activateById(shell.currentWidget.id);
    await commands.execute('notebook:run-all-cells');
  });
}

/** Add a cell at the end, run it, and return what it printed or returned, as text. */
export async function runCell(page, source, { wait = true } = {}) {
  const done = page.evaluate(async code => {
    const { commands, shell } = window.jupyterapp;
    const notebook = shell.currentWidget.content;
    const { sharedModel } = notebook.model;
    sharedModel.insertCell(sharedModel.cells.length, { cell_type: 'code', source: code, metadata: {} });
    notebook.activeCellIndex = sharedModel.cells.length - 1;
    notebook.deselectAll();
    await commands.execute('notebook:run-cell');
    const outputs = notebook.activeCell.model.sharedModel.getOutputs();
    return outputs
      .map(output => [output.text, output.data?.['text/plain'], output.ename].flat().join(''))
      .join('\n');
  }, source);
  return wait ? done : void done.catch(() => undefined);
}

/** Names of the models that the panel offers. */
export async function models(panel) {
  return panel.getByLabel('Model', { exact: true }).locator('option').allTextContents();
}

/** Open the side panel and make the right side bar this wide. */
export async function openPanel(page, width = 420) {
  await page.evaluate(() => window.jupyterapp.commands.execute('jlab-compress:open'));
  const panel = page.locator('#jlab-compress-panel');
  await panel.waitFor({ state: 'visible' });
  await resize(page, width);
  return panel;
}

export async function resize(page, width) {
  await page.evaluate(target => {
    const split = window.jupyterapp.shell._hsplitPanel;
    const total = split.node.clientWidth;
    const sizes = split.relativeSizes();
    const left = sizes[0];
    const right = target / total;
    split.setRelativeSizes([left, 1 - left - right, right]);
  }, width);
  await page.waitForTimeout(250);
}

export async function setTheme(page, theme) {
  await page.evaluate(
    name => window.jupyterapp.commands.execute('apputils:change-theme', { theme: name }),
    theme
  );
  await page.waitForFunction(
    light => document.body.dataset.jpThemeLight === light,
    String(theme.includes('Light'))
  );
  await page.waitForTimeout(300);
}

/** What axe-core objects to within an element; an empty list is what we want. */
export async function violations(page, selector) {
  await page.addScriptTag({ path: createRequire(import.meta.url).resolve('axe-core') });
  return page.evaluate(async within => {
    const { violations: found } = await window.axe.run(within, { resultTypes: ['violations'] });
    return found.map(({ id, nodes }) => `${id}: ${nodes.map(node => node.html.slice(0, 160)).join(' | ')}`);
  }, selector);
}

export async function shot(target, name) {
  await target.screenshot({ path: join(SHOTS, `${name}.png`) });
}
