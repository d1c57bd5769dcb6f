/* Writes a job as a job file. */
#pragma once

#include "common/job.h"

/* A job file with every key of the job, from which sp_config_load() makes an equal job wherever the file lies: paths
 * are absolute, since those of a job file are relative to its folder. On success *text is UTF-8, ends with a zero byte
 * and belongs to the caller (free()). Errors name the key: SP_E_UNSUPPORTED if a string is not UTF-8, as a job file
 * must be; SP_E_RANGE if an absolute path is too long for a key; SP_E_IO if the working folder has no path; SP_E_NOMEM.
 */
int sp_job_yaml(const struct sp_job *job, char **text, struct sp_error *error);
