import config from './jest.config.js';

/** Tests against a real OpenSearch (`npm run test:opensearch`): one node for all files, started by test/opensearch/main.ts. */
export default {
  ...config,
  roots: ['<rootDir>/test/opensearch'],
  testPathIgnorePatterns: [],
  // The node has one heap, and the machine few cores.
  maxWorkers: 1,
};
