/** The house: rooms import downward only, no two files import each other, and no room is crowded. */

import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const SRC = join(__dirname, '..');
const MOST = 12;
/** From the ground; a file imports from its own room or from one before it. */
const ROOMS = [
  'kernel',
  'model',
  'python',
  'host',
  'tokens',
  'view/state',
  'view/parts',
  'view/results',
  'view/steps',
  'view/blocks',
  'view',
  'lab',
  'widget',
  'index'
];

type Imports = { [file: string]: string[] };

function files(folder: string): string[] {
  return readdirSync(join(SRC, folder), { withFileTypes: true }).flatMap(entry => {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    return entry.name === '__tests__' ? [] : entry.isDirectory() ? files(path) : [path];
  });
}

/** What each file imports of the others, types included; names without their endings. */
function importsOf(paths: string[]): Imports {
  return Object.fromEntries(
    paths.map(path => {
      const source = readFileSync(join(SRC, path), 'utf8');
      const found = [...source.matchAll(/from '(\.[^']+)'/g)].map(([, target]) =>
        relative(SRC, join(SRC, dirname(path), target))
      );
      return [bare(path), found.map(bare)];
    })
  );
}

const bare = (path: string): string => path.replace(/\.tsx?$/, '');
const roomOf = (file: string): string => (file.includes('/') ? dirname(file) : file);

function upward(imports: Imports): string[] {
  const floor = (file: string): number => ROOMS.indexOf(roomOf(file));
  return Object.entries(imports).flatMap(([file, targets]) =>
    targets.filter(target => floor(target) > floor(file)).map(target => `${file} imports ${target}`)
  );
}

/** The files that are left when those that import nothing that is left are taken away, again and again. */
function circular(imports: Imports): string[] {
  let left = Object.keys(imports);
  for (;;) {
    const next = left.filter(file => imports[file].some(target => left.includes(target)));
    if (next.length === left.length) {
      return left;
    }
    left = next;
  }
}

const PATHS = files('');
const IMPORTS = importsOf(PATHS);

it('every file is in a room that is named here', () => {
  expect(Object.keys(IMPORTS).filter(file => !ROOMS.includes(roomOf(file)))).toEqual([]);
});

it('imports go down', () => {
  expect(upward(IMPORTS)).toEqual([]);
  expect(upward({ 'model/plan': ['kernel/messages', 'view/App'] })).toEqual(['model/plan imports view/App']);
});

it('no file imports itself by a detour', () => {
  expect(circular(IMPORTS)).toEqual([]);
  expect(circular({ a: ['b'], b: ['c'], c: ['a'], d: ['a'], e: [] })).toEqual(['a', 'b', 'c', 'd']);
});

it('a room holds a dozen files at most', () => {
  const crowded = (rooms: string[]): string[] =>
    [...new Set(rooms)].filter(room => rooms.filter(other => other === room).length > MOST);
  expect(crowded(Object.keys(IMPORTS).map(roomOf))).toEqual([]);
  expect(crowded(Array.from({ length: MOST + 1 }, () => 'view'))).toEqual(['view']);
});
