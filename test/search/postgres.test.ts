import { describeSearch } from './contract.js';

describeSearch('PostgreSQL');
