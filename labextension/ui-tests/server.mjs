/** A Jupyter server of our own: free port, private folders, ended with everything that it started. */

import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

async function freePort() {
  return new Promise((done, fail) => {
    const probe = createServer();
    probe.once('error', fail);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });
}

/** The project's own Jupyter, else the one on the path. */
export function jupyter() {
  const own = join(ROOT, '.venv', 'bin', 'jupyter');
  return existsSync(own) ? own : 'jupyter';
}

/**
 * Runs a command and ends its whole process group once the other end of standard input is closed, as it is
 * when this process ends in any way, a kill included. Kernels watch their server by themselves.
 */
const LEASH = '( "$@" </dev/null; kill $$ ) & read -r; trap : TERM; kill -TERM -- -$$; wait';

/** `app` is "lab" or "notebook". */
export async function startServer(app = 'lab', settings = {}) {
  const home = mkdtempSync(join(tmpdir(), 'jlc-ui-'));
  const files = join(home, 'files');
  mkdirSync(files);
  const overrides = {
    '@jupyterlab/apputils-extension:notification': { fetchNews: 'false', checkForUpdates: false },
    '@jupyterlab/docmanager-extension:plugin': { autosave: false },
    ...settings
  };
  for (const [plugin, values] of Object.entries(overrides)) {
    const [extension, name] = plugin.split(':');
    const folder = join(home, 'config', 'lab', 'user-settings', extension);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, `${name}.jupyterlab-settings`), JSON.stringify(values));
  }
  const port = await freePort();
  const command = jupyter();
  const child = spawn(
    'bash',
    [
      '-c',
      LEASH,
      'leash',
      command,
      app,
      '--allow-root',
      '--no-browser',
      '--ip=127.0.0.1',
      `--port=${port}`,
      `--ServerApp.root_dir=${files}`,
      '--IdentityProvider.token=',
      '--ServerApp.password=',
      '--ServerApp.disable_check_xsrf=True',
      '--ServerApp.port_retries=0',
      '--LabApp.expose_app_in_browser=True',
      '--JupyterNotebookApp.expose_app_in_browser=True'
    ],
    {
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
      env: {
        ...process.env,
        OMP_NUM_THREADS: '1',
        JUPYTER_CONFIG_DIR: join(home, 'config'),
        JUPYTER_DATA_DIR: join(home, 'data'),
        JUPYTER_RUNTIME_DIR: join(home, 'runtime'),
        JUPYTERLAB_SETTINGS_DIR: join(home, 'config', 'lab', 'user-settings'),
        JUPYTERLAB_WORKSPACES_DIR: join(home, 'workspaces'),
        IPYTHONDIR: join(home, 'ipython')
      }
    }
  );
  let log = '';
  child.stdout.on('data', chunk => (log += chunk));
  child.stderr.on('data', chunk => (log += chunk));
  const url = `http://127.0.0.1:${port}`;
  const stop = () => {
    try {
      process.kill(-child.pid, 'SIGTERM');
    } catch {
      // it has ended already
    }
    setTimeout(() => rmSync(home, { recursive: true, force: true, maxRetries: 5 }), 1500).unref();
  };
  for (let tries = 0; tries < 240; tries++) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`the Jupyter server ended:\n${log.slice(-3000)}`);
    }
    const answer = await fetch(`${url}/api/status`).catch(() => null);
    if (answer?.ok) {
      return { url, files, home, stop, log: () => log };
    }
    await new Promise(done => setTimeout(done, 250));
  }
  stop();
  throw new Error(`the Jupyter server did not come up:\n${log.slice(-3000)}`);
}

/** Write a notebook of code cells into the server's files. */
export function writeNotebook(server, name, cells, metadata = {}) {
  const notebook = {
    nbformat: 4,
    nbformat_minor: 5,
    metadata: {
      kernelspec: { name: 'python3', display_name: 'Python 3 (ipykernel)', language: 'python' },
      ...metadata
    },
    cells: cells.map((source, index) => ({
      cell_type: 'code',
      id: `cell-${index}`,
      execution_count: null,
      metadata: {},
      outputs: [],
      source
    }))
  };
  writeFileSync(join(server.files, name), JSON.stringify(notebook));
}

export function copyNotebook(server, path) {
  cpSync(join(ROOT, path), join(server.files, path.split('/').pop()));
}
