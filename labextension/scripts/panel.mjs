/** Bundle the shared view for the in-cell panel: a module, a style sheet, the licences of what it holds. */

import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { licences } from './licences.mjs';

const here = join(dirname(fileURLToPath(import.meta.url)), '..');
const target = join(here, '..', 'jlab_compress', 'notebook', 'static');

const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: { panel: join(here, 'src', 'widget.tsx') },
  outdir: target,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2020',
  jsx: 'transform',
  legalComments: 'eof',
  metafile: true,
  define: { 'process.env.NODE_ENV': '"production"' }
});
await build({
  entryPoints: { panel: join(here, 'style', 'index.css') },
  outdir: target,
  bundle: true
});
writeFileSync(
  join(target, 'third-party-licenses.json'),
  `${JSON.stringify(licences(metafile.inputs, here), null, 2)}\n`
);
