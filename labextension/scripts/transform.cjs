/** TypeScript to JavaScript for jest, by the bundler that makes the panel. */

const { transformSync } = require('esbuild');

module.exports = {
  process(source, file) {
    const { code, map } = transformSync(source, {
      loader: file.endsWith('.tsx') ? 'tsx' : /\.m?js$/.test(file) ? 'js' : 'ts',
      format: 'cjs',
      target: 'es2020',
      jsx: 'transform',
      sourcemap: true,
      sourcefile: file
    });
    return { code, map };
  }
};
