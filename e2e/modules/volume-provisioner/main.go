// Command volume-provisioner makes the volumes of the test cluster's two StorageClasses:
//
//   - shared (ReadWriteMany): a folder of the GlusterFS volume that every node mounts at the same path;
//   - local: a folder of the node that the scheduler chose, with the node affinity that a zonal disk has, and like a
//     disk it refuses to be shared between nodes.
//
// Both come as hostPath volumes. The watching, retrying and reporting is the external provisioner library's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const (
	sharedName = "archfan.dev/shared"
	localName  = "archfan.dev/local"
)

// volume makes the PersistentVolume that answers to a claim, lying at path.
func volume(options controller.ProvisionOptions, path string, kind v1.HostPathType) *v1.PersistentVolume {
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: options.PVC.Spec.Resources.Requests[v1.ResourceStorage]},
			PersistentVolumeSource: v1.PersistentVolumeSource{
				HostPath: &v1.HostPathVolumeSource{Path: path, Type: &kind},
			},
		},
	}
}

// shared makes folders on the network filesystem mounted at root.
type shared struct{ root string }

func (s shared) Provision(_ context.Context, options controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	path := filepath.Join(s.root, options.PVName)
	if err := os.Mkdir(path, 0o777); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, controller.ProvisioningFinished, fmt.Errorf("making the volume's folder: %w", err)
	}
	// Any user may write, whatever the umask: steps run under many user ids.
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("opening the volume's folder: %w", err)
	}
	// HostPathDirectory: a node that lost its mount fails the pod, instead of giving it an empty folder of its own.
	return volume(options, path, v1.HostPathDirectory), controller.ProvisioningFinished, nil
}

func (s shared) Delete(_ context.Context, pv *v1.PersistentVolume) error {
	return os.RemoveAll(filepath.Join(s.root, filepath.Base(pv.Name)))
}

// local hands out folders of single nodes. They go when the cluster goes: this process cannot reach the other nodes.
type local struct{ root string }

func (l local) Provision(_ context.Context, options controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	for _, mode := range options.PVC.Spec.AccessModes {
		if !slices.Contains([]v1.PersistentVolumeAccessMode{v1.ReadWriteOnce, v1.ReadWriteOncePod}, mode) {
			return nil, controller.ProvisioningFinished, fmt.Errorf("the class %s has no %s volumes: they are folders of one node", options.StorageClass.Name, mode)
		}
	}
	if options.SelectedNodeName == "" {
		return nil, controller.ProvisioningFinished, fmt.Errorf("the class %s needs volumeBindingMode WaitForFirstConsumer", options.StorageClass.Name)
	}
	pv := volume(options, filepath.Join(l.root, options.PVName), v1.HostPathDirectoryOrCreate)
	pv.Spec.NodeAffinity = &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
		MatchExpressions: []v1.NodeSelectorRequirement{{
			Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{options.SelectedNodeName},
		}},
	}}}}
	return pv, controller.ProvisioningFinished, nil
}

func (l local) Delete(context.Context, *v1.PersistentVolume) error { return nil }

func main() {
	sharedRoot := flag.String("shared", "/mnt/shared", "where the network filesystem is mounted, here and on every node")
	localRoot := flag.String("local", "/var/lib/local-volumes", "the nodes' folder for local volumes")
	klog.InitFlags(nil)
	flag.Parse()

	config, err := rest.InClusterConfig()
	if err != nil {
		klog.Fatalf("this runs as a pod only: %v", err)
	}
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		klog.Fatalf("making a client: %v", err)
	}
	ctx := context.Background()
	run := func(name string, provisioner controller.Provisioner) {
		controller.NewProvisionController(ctx, client, name, provisioner, controller.LeaderElection(false)).Run(ctx)
	}
	go run(localName, local{root: *localRoot})
	run(sharedName, shared{root: *sharedRoot})
}
