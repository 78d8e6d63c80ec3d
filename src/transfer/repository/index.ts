/** transfer/repository: opens and makes repositories, without what reads disks and volumes. */
export {
  type CacheSettings,
  initRepository,
  openRepository,
  type PlaceOptions,
  repairableObjects,
  type S3Settings,
} from '../repositories.ts';
