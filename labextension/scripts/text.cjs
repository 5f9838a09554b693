/** Style sheets and pictures as text for jest, which draws nothing. */

module.exports = {
  process: source => ({ code: `module.exports = ${JSON.stringify(source)};` })
};
