// Queries TensorFlow Serving from Go and slices a text at the offsets of its entities.
//
// Not compiled in this project's tests: Go and its stubs are not installed there. The stubs come from the
// protos of tensorflow/serving and tensorflow/tensorflow (release r2.20), which name no Go package of one
// module, so the flags M... say it (see docs/deployment.md).
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	framework "example.com/tags/gen/tensorflow/core/framework"
	serving "example.com/tags/gen/tensorflow_serving/apis"
)

// All addresses of a headless Service are used in turn; UNAVAILABLE is retried.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [{
    "name": [{"service": "tensorflow.serving.PredictionService"}],
    "retryPolicy": {
      "maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}`

func strings(texts []string) *framework.TensorProto {
	values := make([][]byte, len(texts))
	for i, text := range texts {
		values[i] = []byte(text)
	}
	return &framework.TensorProto{
		Dtype: framework.DataType_DT_STRING,
		TensorShape: &framework.TensorShapeProto{
			Dim: []*framework.TensorShapeProto_Dim{{Size: int64(len(texts))}},
		},
		StringVal: values,
	}
}

func main() {
	connection, err := grpc.NewClient("dns:///"+os.Args[1], // HOST:PORT
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	client := serving.NewPredictionServiceClient(connection)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	texts := os.Args[3:]
	answer, err := client.Predict(ctx, &serving.PredictRequest{
		// In Go, text[start:end] counts bytes: the signature utf8 of models that return places in a text.
		ModelSpec: &serving.ModelSpec{Name: os.Args[2], SignatureName: "utf8"},
		Inputs:    map[string]*framework.TensorProto{"text": strings(texts)},
	})
	if err != nil {
		log.Fatal(err)
	}
	types := answer.Outputs["types"].StringVal
	starts, ends := answer.Outputs["starts"].IntVal, answer.Outputs["ends"].IntVal
	slots := int(answer.Outputs["types"].TensorShape.Dim[1].Size) // of each text; empty ones have no type
	for row, text := range texts {
		for i := row * slots; i < (row+1)*slots; i++ {
			if len(types[i]) > 0 {
				fmt.Printf("%s: %s\n", types[i], text[starts[i]:ends[i]])
			}
		}
	}
}
