const PRIME = 2_147_483_629n;

interface Equation {
  readonly lead: number;
  readonly row: readonly bigint[];
}

/** Equations over counts that are not known, as they follow from one another: linear algebra of a test, apart from what protects the answers. */
export function reduced(rows: readonly (readonly number[])[]): Equation[] {
  const basis: Equation[] = [];
  for (const numbers of rows) {
    const row = remainder(basis, numbers.map(BigInt));
    const lead = row.findIndex((value) => value !== 0n);
    if (lead < 0) continue;
    const inverse = power(row[lead] as bigint, PRIME - 2n);
    basis.push({ lead, row: row.map((value) => (value * inverse) % PRIME) });
  }
  return basis;
}

function remainder(basis: readonly Equation[], row: readonly bigint[]): readonly bigint[] {
  let rest = row;
  for (const { lead, row: known } of basis) {
    const factor = rest[lead] as bigint;
    if (factor !== 0n)
      rest = rest.map((value, index) => (((value - factor * (known[index] as bigint)) % PRIME) + PRIME) % PRIME);
  }
  return rest;
}

/** Whether a sum of what is not known is fixed by the equations. */
export function follows(basis: readonly Equation[], row: readonly number[]): boolean {
  return remainder(basis, row.map(BigInt)).every((value) => value === 0n);
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let [factor, left] = [base, exponent]; left > 0n; left /= 2n) {
    if (left % 2n === 1n) result = (result * factor) % PRIME;
    factor = (factor * factor) % PRIME;
  }
  return result;
}
