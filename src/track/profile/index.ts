/** track/profile: where a volume is read and written, and how often; see README.md. */
export { AccessProfile, type Heat, type RegionAccess } from './access-profile.ts';
export { HALF_LIFE_SECONDS } from './limits.ts';
export { ProfileKeeper, profileIn } from './profile-keeper.ts';
