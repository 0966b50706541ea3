/**
 * Which tables may be given beside each other. Tables that overlap in a circle (by A and B, by A and C, by B and C) can fix a count by all three that
 * none of them shows, down to one person. Tables whose dimensions hang together like a tree (an acyclic hypergraph; the margins of a decomposable
 * model) cannot: the bounds they set on a finer count are sharp and have closed forms, and meet only where that count equals one that is shown
 * (Dobra and Fienberg, Proceedings of the National Academy of Sciences 97, 2000), so is nobody or enough people itself.
 */

/** Whether tables by these sets of dimensions hang together like a tree (Graham 1979; Yu and Ozsoyoglu 1979). */
export function isAcyclic(tables: readonly (readonly string[])[]): boolean {
  let edges = tables.map((dimensions) => new Set(dimensions));
  for (let before = -1; before !== sizeOf(edges);) {
    before = sizeOf(edges);
    // A dimension of one table alone says nothing of the others, nor does a table within another.
    for (const edge of edges) {
      for (const dimension of edge)
        if (edges.filter((other) => other.has(dimension)).length === 1) edge.delete(dimension);
    }
    edges = edges.filter(
      (edge, place) =>
        !edges.some((other, at) => at !== place && isWithin(edge, other) && (other.size > edge.size || at < place)),
    );
  }
  return edges.length <= 1;
}

function isWithin(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  return [...one].every((dimension) => other.has(dimension));
}

function sizeOf(edges: readonly ReadonlySet<string>[]): number {
  return edges.reduce((sum, edge) => sum + 1 + edge.size, 0);
}
