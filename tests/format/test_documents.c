/* SPDX-License-Identifier: MIT
 *
 * test_documents.c — single values out of a trace's JSON documents.
 */
#include "../unit/check.h"
#include "sample_trace.h"

int main(void)
{
    return check_report();
}
