import { describe, expect, it } from '@jest/globals';
import { Shared } from '../../src/query/shared.js';

describe('what is shared', () => {
  it('is run once for all who ask before it begins', async () => {
    let runs = 0;
    const shared = new Shared(async () => (runs += 1));
    expect(await Promise.all([shared.ask(), shared.ask(), shared.ask()])).toEqual([1, 1, 1]);
    expect(await shared.ask()).toBe(2);
  });

  it('is run anew for who asks while it is under way: what it reads may have been written since', async () => {
    let written = 0;
    const begun = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    const shared = new Shared(async () => {
      const read = written;
      begun.resolve();
      await answer.promise;
      return read;
    });
    const before = shared.ask();
    await begun.promise;
    written = 1;
    const after = [shared.ask(), shared.ask()];
    answer.resolve();
    expect(await before).toBe(0);
    expect(await Promise.all(after)).toEqual([1, 1]);
  });

  it('fails for those alone who asked for the run that failed', async () => {
    let runs = 0;
    const shared = new Shared(async () => {
      runs += 1;
      if (runs === 1) throw new Error('away');
      return runs;
    });
    const [first, second] = await Promise.allSettled([shared.ask(), shared.ask()]);
    expect([first?.status, second?.status]).toEqual(['rejected', 'rejected']);
    expect(await shared.ask()).toBe(2);
  });
});
