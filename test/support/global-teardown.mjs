import { rmSync } from 'node:fs';

export default async function globalTeardown() {
  const running = globalThis.anamnesisTestPostgres;
  if (running === undefined) return;
  await running.server.stop();
  rmSync(running.folder, { recursive: true, force: true });
}
