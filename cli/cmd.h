/* SPDX-License-Identifier: MIT
 *
 * cmd.h — the verbs. Each takes its own argv (argv[0] is the verb) and returns an exit code.
 */
#ifndef CLI_CMD_H
#define CLI_CMD_H

int cmd_trace(int argc, char **argv);
int cmd_mask(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_groups(int argc, char **argv);
int cmd_route(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_view(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_prove(int argc, char **argv);
int cmd_reason(int argc, char **argv);
int cmd_suppress(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_ruler(int argc, char **argv);

#endif
