import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The log's Merkle tree, in tiles of 256 hashes, and copies of its signed heads: what proofs are cut from without reading the log. */
export class Evidence1763700006000 implements MigrationInterface {
  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create schema evidence`);
    // positions: 8 bytes each, where those of a tile of leaves (level 0) do not follow one another without a gap.
    await runner.query(`
      create table evidence.tile (
        level smallint not null,
        index bigint not null,
        first_position bigint,
        last_position bigint,
        positions bytea,
        hashes bytea not null,
        primary key (level, index)
      )`);
    // Hashes do not compress.
    await runner.query(`alter table evidence.tile alter column hashes set storage external`);
    // The tile that a position is in.
    await runner.query(`create index tile_position on evidence.tile (first_position) where level = 0`);
    // The signed heads as the second place has them: a proof is given under the first one that covers its event, so that it stays the same.
    await runner.query(`
      create table evidence.head (
        sequence bigint primary key,
        position bigint not null,
        size bigint not null,
        head text not null,
        key text not null,
        signature text not null
      )`);
    await runner.query(`create index head_position on evidence.head (position)`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop schema evidence cascade`);
  }
}
