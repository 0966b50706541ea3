import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The log's Merkle tree, in tiles of 256 hashes, and a copy of the last signed head: what proofs are cut from without reading the log. */
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
    await runner.query(`
      create table evidence.head (
        one boolean primary key default true check (one),
        head text not null,
        key text not null,
        signature text not null
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop schema evidence cascade`);
  }
}
