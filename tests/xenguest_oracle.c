/* What Xen's own domain builder makes of a kernel, without a running Xen: prints "pv", "pvh", both or neither. */
#include <stdio.h>
#include <xenctrl.h>
#include <xenguest.h>

int main(int argc, char **argv)
{
    xc_interface *xen = xc_interface_open(NULL, NULL, XC_OPENFLAG_DUMMY);

    if (argc != 2 || !xen)
        return 1;
    for (int hvm = 0; hvm < 2; hvm++) {
        struct xc_dom_image *image = xc_dom_allocate(xen, "", NULL);

        image->container_type = hvm ? XC_DOM_HVM_CONTAINER : XC_DOM_PV_CONTAINER;
        if (xc_dom_kernel_file(image, argv[1]) == 0)
            xc_dom_parse_image(image); /* fails at the latest where it asks Xen; the type is known before */
        if (image->guest_type)
            puts(hvm ? "pvh" : "pv");
        xc_dom_release(image);
    }
    return 0;
}
