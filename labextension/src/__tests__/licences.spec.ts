import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

interface IText {
  name: string;
  licenseId: string;
  extractedText: string;
}

/** What a script of the build says of the packages behind some files. */
function textsOf(inputs: string[]): IText[] {
  const code = `
    import { licences } from './scripts/licences.mjs';
    const inputs = Object.fromEntries(${JSON.stringify(inputs)}.map(path => [path, {}]));
    console.log(JSON.stringify(licences(inputs, '.').packages));`;
  const root = join(__dirname, '..', '..');
  const made = execFileSync('node', ['--input-type=module', '-e', code], { cwd: root, stdio: 'pipe' });
  return JSON.parse(String(made));
}

it('each package in a bundle brings its licence, once', () => {
  const inputs = ['react/index.js', 'react/cjs/a.js', 'react-dom/client.js', 'scheduler/index.js'];
  const texts = textsOf(['src/widget.tsx', ...inputs.map(path => `node_modules/${path}`)]);
  expect(texts.map(({ name }) => name)).toEqual(['react', 'react-dom', 'scheduler']);
  texts.forEach(({ licenseId, extractedText }) => {
    expect(licenseId).toBe('MIT');
    expect(extractedText).toMatch(/Copyright[^]*Permission is hereby granted[^]*WITHOUT WARRANTY/);
  });
});

it('a package without a licence text stops the build', () => {
  expect(() => textsOf(['node_modules/.bin/x/y.js'])).toThrow();
});
