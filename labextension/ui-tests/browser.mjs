/** Debian's Chromium, driven by playwright-core; its absence is a failure with the line to type. */

import { existsSync, mkdirSync } from 'node:fs';
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

export async function shot(target, name) {
  await target.screenshot({ path: join(SHOTS, `${name}.png`) });
}
