import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import about from '../../package.json';

const SRC = join(__dirname, '..');

/** Packages that the files of a folder import, tests left out. */
function imported(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      return entry.name === '__tests__' ? [] : imported(path);
    }
    return packagesIn(readFileSync(path, 'utf8'));
  });
}

function packagesIn(source: string): string[] {
  return [...source.matchAll(/from '([^.'][^']*)'/g)].map(([, name]) =>
    name
      .split('/')
      .slice(0, name.startsWith('@') ? 2 : 1)
      .join('/')
  );
}

it('packages that are imported are the ones that are named', () => {
  expect([...new Set(imported(SRC))].sort()).toEqual(Object.keys(about.dependencies).sort());
});

it('a package is found by its name, whatever of it is imported', () => {
  const source =
    "import { A } from '@lumino/commands/lib/a';\nimport b from 'react-dom/client';\nimport './c';";
  expect(packagesIn(source)).toEqual(['@lumino/commands', 'react-dom']);
  expect(packagesIn("import { D } from './d';\nimport { E } from '../e';")).toEqual([]);
});
