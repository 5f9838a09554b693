/** The licence texts of the packages in a bundle, in the form of JupyterLab's `third-party-licenses.json`. */

import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const PACKAGE = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//;

/** Read them for the inputs of an esbuild metafile; a package without a text is a fault. */
export function licences(inputs, root) {
  const folders = new Set(Object.keys(inputs).flatMap(path => PACKAGE.exec(path)?.[1] ?? []));
  const packages = [...folders].sort().map(folder => {
    const { name, version, license } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
    const file = readdirSync(join(root, folder)).find(entry => /^(licen[cs]e|copying)/i.test(entry));
    if (file === undefined) {
      throw new Error(`${name} brings no licence text, so the bundle must not hold it`);
    }
    const extractedText = readFileSync(join(root, folder, file), 'utf8');
    return { name, versionInfo: version, licenseId: license, extractedText };
  });
  return { packages };
}
