/** Tests run as ES modules straight from TypeScript; see `npm test` for the flags Node needs for that. */
export default {
  testEnvironment: 'node',
  roots: ['<rootDir>/test', '<rootDir>/src', '<rootDir>/projections'],
  testMatch: ['**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  transform: { '^.+\\.ts$': '@swc/jest' },
  // Wants a JDK and a download: npm run test:opensearch.
  testPathIgnorePatterns: ['/node_modules/', '<rootDir>/test/opensearch/'],
  modulePathIgnorePatterns: ['<rootDir>/dist/'],
  setupFilesAfterEnv: ['<rootDir>/test/support/equal-bytes.ts'],
  globalSetup: '<rootDir>/test/support/global-setup.mjs',
  globalTeardown: '<rootDir>/test/support/global-teardown.mjs',
  maxWorkers: 2,
  // A hang is told from a machine that is ten times as slow and has ten other things to do.
  testTimeout: 900_000,
};
