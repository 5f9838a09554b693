/** Bundle the shared view for the in-cell panel: one ES module and one style sheet, nothing fetched. */

import { copyFileSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = join(dirname(fileURLToPath(import.meta.url)), '..');
const target = join(here, '..', 'jlab_compress', 'notebook', 'static');

mkdirSync(target, { recursive: true });
await build({
  entryPoints: [join(here, 'src', 'widget.tsx')],
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2020',
  jsx: 'transform',
  legalComments: 'eof',
  define: { 'process.env.NODE_ENV': '"production"' },
  outfile: join(target, 'panel.js')
});
copyFileSync(join(here, 'style', 'base.css'), join(target, 'panel.css'));
