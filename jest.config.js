/** Tests run against dist/ as users do (child processes, HTTP, PostgreSQL); units are compiled from src/ by swc. */
export default {
  testMatch: ['<rootDir>/{test,examples}/**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  transform: { '^.+\\.ts$': ['@swc/jest', { jsc: { parser: { syntax: 'typescript' }, target: 'es2022' } }] },
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  globalSetup: '<rootDir>/test/helpers/global-setup.js',
  globalTeardown: '<rootDir>/test/helpers/global-teardown.js',
  testSequencer: '<rootDir>/test/helpers/heavy-last.js',
  testTimeout: 120_000,
  maxWorkers: 3,
}
