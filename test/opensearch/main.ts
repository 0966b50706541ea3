/**
 * Runs the tests against a real OpenSearch: `npm run test:opensearch [-- <jest's arguments>]`. Ends with 0 and says so where this machine has no
 * JDK to run one.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { findJava, removeHome, startOpenSearch } from './node.js';

const java = await findJava();
if (java === undefined) {
  console.log('OpenSearch tests skipped: no JDK of at least 21 was found (OPENSEARCH_JAVA names one)');
} else {
  const home = mkdtempSync(path.join(os.tmpdir(), 'anamnesis-opensearch-'));
  const node = await startOpenSearch({ java, home: path.join(home, 'node') });
  try {
    const jest = spawn(
      process.execPath,
      [
        '--experimental-vm-modules',
        '--no-warnings=ExperimentalWarning',
        'node_modules/jest/bin/jest.js',
        '--config',
        'jest.opensearch.config.js',
        ...process.argv.slice(2),
      ],
      {
        stdio: 'inherit',
        env: { ...process.env, ANAMNESIS_TEST_OPENSEARCH: node.url, OPENSEARCH_JAVA: java },
      },
    );
    const [code] = (await once(jest, 'exit')) as [number | null];
    process.exitCode = code ?? 1;
  } finally {
    await node.stop();
    await removeHome(home);
  }
}
