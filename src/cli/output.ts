/** How commands print: tables for people, JSON for programs. */

/** Columns as wide as their widest cell; numbers to the right. */
export function table(columns: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const cells = [[...columns], ...rows.map((row) => columns.map((_, index) => cellText(row[index])))];
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => displayWidth(row[index] ?? ''))));
  const numeric = columns.map(
    (_, index) =>
      rows.length > 0 && rows.every((row) => /^[\d.,]*$/.test(cellText(row[index])) && cellText(row[index]) !== ''),
  );
  return cells
    .map((row) =>
      row
        .map((cell, index) => {
          const fill = ' '.repeat((widths[index] ?? 0) - displayWidth(cell));
          return numeric[index] === true ? fill + cell : cell + fill;
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function cellText(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'string') return value.replaceAll(/\s+/g, ' ');
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  if (Array.isArray(value) && value.every((item) => typeof item !== 'object')) return value.join(' ');
  return JSON.stringify(value);
}

/** Code points; close enough to columns for names and codes. */
function displayWidth(text: string): number {
  return [...text].length;
}

type Json = Record<string, unknown>;

/**
 * An answer as a table: the first connection or list of objects in it, one row per node, one column per field (nested ones
 * dotted). Undefined where it holds none.
 */
export function answerTable(data: unknown): string | undefined {
  const rows = findRows(data);
  if (rows === undefined) return undefined;
  const flat = rows.map((row) => flatten(row));
  const columns = [...new Set(flat.flatMap((row) => Object.keys(row)))];
  return table(
    columns,
    flat.map((row) => columns.map((column) => row[column])),
  );
}

function findRows(value: unknown): Json[] | undefined {
  if (Array.isArray(value)) return value.length > 0 && value.every(isObject) ? value : undefined;
  if (!isObject(value)) return undefined;
  if (Array.isArray(value['nodes'])) return value['nodes'].filter(isObject);
  if (Array.isArray(value['edges'])) return value['edges'].map((edge) => (edge as Json)['node']).filter(isObject);
  for (const child of Object.values(value)) {
    const rows = findRows(child);
    if (rows !== undefined) return rows;
  }
  return undefined;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function flatten(row: Json, prefix = ''): Json {
  const flat: Json = {};
  for (const [name, value] of Object.entries(row)) {
    if (isObject(value)) Object.assign(flat, flatten(value, `${prefix}${name}.`));
    else flat[prefix + name] = value;
  }
  return flat;
}

/** `1,234` */
export function grouped(value: number | bigint | string): string {
  return String(value).replaceAll(/\B(?=(\d{3})+(?!\d))/g, ',');
}

/** `1.2 s`, `3 min`, `2 h` */
export function duration(seconds: number): string {
  if (seconds < 90) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}
