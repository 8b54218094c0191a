/* subject_device.c -- what can be asked about a device. */
#include "recorder.h"
#include "structures.h"
#include "subjects.h"

#include <string.h>

enum { PCI_BUS = 33, PCI_DEVICE = 34, PCI_DOMAIN = 50, NEWEST_ATTRIBUTE = 150 };

static void attributes(void)
{
    for (int i = 1; i <= NEWEST_ATTRIBUTE; i++) {
        int value = 0;
        CALL(cuDeviceGetAttribute, text_of("%d", i), A(value), (word)i, 0);
        if (i != PCI_BUS && i != PCI_DEVICE && i != PCI_DOMAIN)
            DEVICE_VALUE("value", value);
    }
    int value = 0;
    CALL(cuDeviceGetAttribute, "0", A(value), 0, 0);
    CALL(cuDeviceGetAttribute, "9999", A(value), 9999, 0);
    CALL(cuDeviceGetAttribute, "-1", A(value), (word)-1, 0);
    CALL(cuDeviceGetAttribute, "1 into NULL", 0, 1, 0);
    CALL(cuDeviceGetAttribute, "1 of device 99", A(value), 1, 99);
    CALL(cuDeviceGetAttribute, "1 of device -1", A(value), 1, (word)-1);
    CALL(cuDeviceGetAttribute, "9999 of device 99", A(value), 9999, 99);
    CALL(cuDeviceGetAttribute, "1 of device 99 into NULL", 0, 1, 99);
}

static void names(void)
{
    char text[64] = "", uuid[16] = "";
    unsigned mask = 0;
    CALL(cuDeviceGetName, "", P(text), sizeof(text), 0);
    TEXT("begins", strncmp(text, "NVIDIA", 6) == 0 || strncmp(text, "Tesla", 5) == 0 ? "as expected" : text);
    CALL(cuDeviceGetName, "4 bytes", P(text), 4, 0);
    VALUE("length", strnlen(text, sizeof(text)));
    CALL(cuDeviceGetName, "0 bytes", P(text), 0, 0);
    CALL(cuDeviceGetName, "-1 bytes", P(text), (word)-1, 0);
    CALL(cuDeviceGetName, "NULL", 0, 64, 0);
    CALL(cuDeviceGetName, "device 99", P(text), 64, 99);
    CALL(cuDeviceGetUuid_v2, "", P(uuid), 0);
    CALL(cuDeviceGetUuid_v2, "NULL", 0, 0);
    CALL(cuDeviceGetUuid_v2, "device 99", P(uuid), 99);
    CALL(cuDeviceGetUuid, "", P(uuid), 0);
    CALL(cuDeviceGetLuid, "", P(uuid), A(mask), 0);
    CALL(cuDeviceGetLuid, "NULL", 0, 0, 0);
    CALL(cuDeviceGetPCIBusId, "", P(text), sizeof(text), 0);
    VALUE("length", strlen(text));
    int device = -1;
    CALL(cuDeviceGetByPCIBusId, "what it said", A(device), P(text));
    VALUE("device", device);
    CALL(cuDeviceGetByPCIBusId, "of no device", A(device), P("ffff:ff:1f.0"));
    CALL(cuDeviceGetByPCIBusId, "garbage", A(device), P("garbage"));
    CALL(cuDeviceGetByPCIBusId, "empty", A(device), P(""));
    CALL(cuDeviceGetByPCIBusId, "NULL", A(device), 0);
    CALL(cuDeviceGetByPCIBusId, "into NULL", 0, P(text));
    CALL(cuDeviceGetPCIBusId, "8 bytes", P(text), 8, 0);
    CALL(cuDeviceGetPCIBusId, "0 bytes", P(text), 0, 0);
    CALL(cuDeviceGetPCIBusId, "NULL", 0, 64, 0);
    CALL(cuDeviceGetPCIBusId, "device 99", P(text), 64, 99);
}

static void peers(void)
{
    int value = 0;
    CALL(cuDeviceCanAccessPeer, "itself", A(value), 0, 0);
    VALUE("can", value);
    CALL(cuDeviceCanAccessPeer, "device 99", A(value), 0, 99);
    CALL(cuDeviceCanAccessPeer, "NULL", 0, 0, 0);
    for (int i = 0; i <= 5; i++) {
        CALL(cuDeviceGetP2PAttribute, text_of("%d of itself", i), A(value), (word)i, 0, 0);
        VALUE("value", value);
    }
    CALL(cuDeviceGetP2PAttribute, "1 of device 99", A(value), 1, 0, 99);
    CALL(cuDeviceGetP2PAttribute, "1 into NULL", 0, 1, 0, 0);
    for (int i = 0; i <= 2; i++) {
        value = -1;
        CALL(cuDeviceGetExecAffinitySupport, text_of("%d", i), A(value), (word)i, 0);
        VALUE("supported", value);
    }
    CALL(cuDeviceGetExecAffinitySupport, "NULL", 0, 0, 0);
    CALL(cuDeviceGetExecAffinitySupport, "device 99", A(value), 0, 99);
}

void record_device(void)
{
    int number = -1, other = 0, properties[32];
    size_t bytes = 0;
    unsigned few = 0;
    DO(cuInit, 0);
    CALL(cuDeviceGet, "0", A(number), 0);
    VALUE("device", number);
    CALL(cuDeviceGet, "99", A(number), 99);
    CALL(cuDeviceGet, "-1", A(number), (word)-1);
    CALL(cuDeviceGet, "0 into NULL", 0, 0);
    CALL(cuDeviceGet, "99 into NULL", 0, 99);
    CALL(cuDeviceGetCount, "NULL", 0);
    CALL(cuDeviceTotalMem_v2, "", A(bytes), 0);
    DEVICE_VALUE("GiB", (bytes + (512 << 20)) >> 30);
    CALL(cuDeviceTotalMem_v2, "NULL", 0, 0);
    CALL(cuDeviceTotalMem_v2, "device 99", A(bytes), 99);
    CALL(cuDeviceTotalMem, "", A(few), 0);
    CALL(cuDeviceComputeCapability, "", A(number), A(other), 0);
    DEVICE_VALUE("major", number);
    DEVICE_VALUE("minor", other);
    CALL(cuDeviceComputeCapability, "device 99", A(number), A(other), 99);
    CALL(cuDeviceComputeCapability, "NULL", 0, 0, 0);
    CALL(cuDeviceGetProperties, "", P(properties), 0);
    DEVICE_VALUE("threads per block", properties[0]);
    DEVICE_VALUE("shared bytes per block", properties[7]);
    CALL(cuDeviceGetProperties, "NULL", 0, 0);
    CALL(cuDeviceGetTexture1DLinearMaxWidth, "8 bits, 1 channel", A(bytes), 1, 1, 0);
    CALL(cuDeviceGetTexture1DLinearMaxWidth, "NULL", 0, 1, 1, 0);
    CALL(cuDeviceGetNvSciSyncAttributes, "NULL", 0, 0, 1);
    CALL(cuFlushGPUDirectRDMAWrites, "target 7, scope 7", 7, 7);
    names();
    attributes();
    peers();
}
