module.exports = {
  testEnvironment: 'jsdom',
  roots: ['<rootDir>/src'],
  testRegex: '__tests__/.*\\.spec\\.tsx?$',
  transform: {
    '\\.(tsx?|m?js)$': '<rootDir>/scripts/transform.cjs',
    '\\.(css|svg)$': '<rootDir>/scripts/text.cjs'
  },
  transformIgnorePatterns: [],
  setupFiles: ['<rootDir>/scripts/jsdom.cjs']
};
