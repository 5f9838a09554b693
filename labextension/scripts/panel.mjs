/** Bundle the shared view for the in-cell panel: one ES module and one style sheet, nothing fetched. */

import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = join(dirname(fileURLToPath(import.meta.url)), '..');
const target = join(here, '..', 'jlab_compress', 'notebook', 'static');

await build({
  entryPoints: { panel: join(here, 'src', 'widget.tsx') },
  outdir: target,
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2020',
  jsx: 'transform',
  legalComments: 'eof',
  define: { 'process.env.NODE_ENV': '"production"' }
});
await build({
  entryPoints: { panel: join(here, 'style', 'index.css') },
  outdir: target,
  bundle: true
});
