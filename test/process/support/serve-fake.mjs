// Runs a supervisor with fake roles as a process of its own, so that it can be killed. Argument: the data directory.
import { loadConfig } from '../../../dist/src/config/config.js';
import { createLogger } from '../../../dist/src/operations/logger.js';
import { startHub } from '../../../dist/src/supervisor/supervisor.js';

const config = loadConfig({
  dataDir: process.argv[2],
  cwd: process.argv[2],
  env: { ANAMNESIS_HTTP_PORT: '0', ANAMNESIS_MLLP_PORT: '0' },
});
const hub = await startHub({
  config,
  logger: createLogger('supervisor', 'warn'),
  childModule: new URL('./fake-role.mjs', import.meta.url).pathname,
});
process.on('SIGTERM', () => void hub.stop().then(() => process.exit(0)));
// Whoever reads this may send a signal at once.
console.log(JSON.stringify(hub.run));
