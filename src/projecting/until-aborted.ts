/**
 * What `work` gives, or undefined once the signal aborts (the work goes on, unobserved). Unlike Promise.race with a promise that lives as
 * long as the signal, nothing is left behind on the signal: such a race keeps every result that was ever waited for.
 */
export function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => resolve(undefined);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
    if (signal.aborted) onAbort();
  });
}
