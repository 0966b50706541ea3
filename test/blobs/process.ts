/**
 * An intake over a database and a blob store that are there already: the victim of killed.test.ts. It takes in one large document after
 * another, and says when a blob is stored and its event not yet appended, and when the message is answered.
 * Started with: the database's URL, the folder of blobs, the master key in base64url, a prefix for control ids, and a number: of the
 * blob at which it stands still and waits for its end, 0 for none.
 */
import type pg from 'pg';
import { localKeyProvider } from '../../src/sealing/key-provider.js';
import { hl7, incompressible, openHubOver } from '../inbound/support.js';

/** What it tells its parent: it stands still between blob and append, or a message was acknowledged. */
export type BlobProcessMessage = { readonly is: 'between' } | { readonly is: 'acknowledged'; readonly id: string };

const [url, blobFolder, masterKey, prefix, stopAt] = process.argv.slice(2) as [string, string, string, string, string];
const tell = (message: BlobProcessMessage): void => void process.send?.(message);
let blobs = 0;
const hub = await openHubOver(
  {
    // The database is the parent's.
    database: { url, pool: undefined as unknown as pg.Pool, drop: () => Promise.resolve() },
    kek: localKeyProvider(Buffer.from(masterKey, 'base64url')),
    blobFolder,
  },
  (parts) => {
    const { blobs: store } = parts;
    if (store === undefined) return parts;
    const put: typeof store.put = async (bodies) => {
      const failures = await store.put(bodies);
      blobs += bodies.length;
      if (blobs === Number(stopAt)) {
        tell({ is: 'between' });
        await new Promise(() => undefined);
      }
      return failures;
    };
    return { ...parts, blobs: { ...store, put } };
  },
);
process.on('disconnect', () => process.exit(0));
for (let number = 1; ; number += 1) {
  const id = `${prefix}-${number}`;
  const answer = await hub.intake.receive(
    hl7(
      `MSH|^~\\&|RAD|H|HUB|X|20260101120000||ORU^R01|${id}|P|2.5\nPID|1||${number}^^^MERCY^MR||OKAFOR^ADA||19840229|F\n` +
        `OBR|1||F${id}|REPORT^Report|||20260101110000\nOBX|1|ED|PDF^Document||^application^pdf^Base64^${incompressible(30_000, id)}||||||F`,
    ),
  );
  if (answer.messageId !== undefined) tell({ is: 'acknowledged', id: answer.messageId });
}
