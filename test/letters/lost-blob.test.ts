/** A large document whose blob is lost: parked before anything projects it, and applied by one replay once the blob is back, with what waited behind. */
import { expect, test } from '@jest/globals';
import { readdir, readFile, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { giveBack, UnknownBlobError } from '../../src/blobs/give-back.js';
import { incompressible } from '../inbound/support.js';
import { attributeProjection, LetterHub } from './support.js';

test('What waits for a lost blob is applied, in order, by a replay once the blob is back; before, a replay parks it again', async () => {
  const letters = await LetterHub.open([attributeProjection('colours', () => false)]);
  try {
    const { hub } = letters;
    // Lost as soon as it is acknowledged: the writer keeps it elsewhere until it is appended, and nobody has read it yet.
    const put = hub.blobs.put.bind(hub.blobs);
    let lost: { readonly from: string; readonly to: string } | undefined;
    hub.blobs.put = async (ref, bytes) => {
      await put(ref, bytes);
      const names = await readdir(hub.blobFolder, { recursive: true });
      const name = names.find((one) => /[0-9a-f]{64}$/.test(one)) as string;
      lost = { from: path.join(hub.blobFolder, name), to: `${hub.blobFolder}-lost` };
      await rename(lost.from, lost.to);
    };
    const large = `large ${incompressible(30_000, 'blob')}`;
    await letters.send(letters.event('M1', large));
    await letters.send(letters.event('M1', 'behind'));
    await letters.send(letters.event('M2', 'elsewhere'));
    const [letter] = await letters.parked(1);
    expect(letter).toMatchObject({ code: 'BLOB_MISSING' });
    await letters.quiet();
    expect(await letters.values('colours')).toEqual(['elsewhere']);

    await letters.replay([letter?.message_id as string]);
    await letters.attempt(2);
    expect(await letters.values('colours')).toEqual(['elsewhere']);

    if (lost === undefined) throw new Error('no blob was stored');
    const { pool } = hub.database;
    const sealed = await readFile(lost.to);
    await expect(giveBack(pool, hub.blobs, sealed.subarray(1))).rejects.toBeInstanceOf(UnknownBlobError);
    hub.blobs.put = put;
    await writeFile(lost.from, 'what a broken disk left');
    expect(await giveBack(pool, hub.blobs, sealed)).toMatchObject({ state: 'placed', length: sealed.length });
    expect(await giveBack(pool, hub.blobs, sealed)).toMatchObject({ state: 'present' });
    expect(await readFile(lost.from)).toEqual(sealed);
    await letters.replay([letter?.message_id as string]);
    await letters.until(async () => (await letters.values('colours')).length === 3);
    await letters.quiet();
    expect(await letters.values('colours')).toEqual(['elsewhere', large, 'behind']);
  } finally {
    await letters.close();
  }
});
