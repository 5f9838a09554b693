module.exports = {
  testEnvironment: 'jsdom',
  roots: ['<rootDir>/src'],
  testRegex: '__tests__/.*\\.spec\\.tsx?$',
  transform: { '\\.(tsx?|mjs)$': '<rootDir>/scripts/transform.cjs' },
  setupFiles: ['<rootDir>/scripts/jsdom.cjs']
};
