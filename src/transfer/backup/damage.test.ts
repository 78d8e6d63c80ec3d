/** Goal: no damage goes unseen, and none makes more unreadable than it must. */
import { damageSuite } from './damage.suite.ts';

// All of them in `npm run test:long`.
damageSuite(64);
