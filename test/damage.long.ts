/** Goal: of the superblocks each single byte may be damaged: it is named, and all reads right. */
import { damageSuite } from '../src/transfer/backup/damage.suite.ts';

damageSuite(Number.POSITIVE_INFINITY);
