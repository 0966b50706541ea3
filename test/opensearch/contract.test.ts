import { describeSearch } from '../search/contract.js';
import { openTestOpenSearch } from './support.js';

describeSearch('OpenSearch', () => Promise.resolve(openTestOpenSearch()));
